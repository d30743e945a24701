"""Sources of labelled pictures: one file for each kind, one contract for all."""

from __future__ import annotations

from pathlib import Path

from clothclf.data.sources.listing import Finding, Listing, Source, Wanted
from clothclf.data.sources.selection import Chosen, list_wanted
from clothclf.errors import DataError
from clothclf.settings import DataSettings

__all__ = ["Chosen", "Finding", "Listing", "Source", "Wanted", "list_wanted", "open_source"]


def open_source(settings: DataSettings, cache: Path) -> Source:
    """Open the source that the settings name; `cache` is where the demo's pictures are drawn to."""
    from clothclf.data.sources.demo import open_demo
    from clothclf.data.sources.kaggle import KaggleSource

    if settings.source == "demo":
        return open_demo(settings.demo, cache)
    if settings.path is None:
        raise DataError("data.path: source kaggle needs the downloaded zip or its folder")
    return KaggleSource(settings.path)
