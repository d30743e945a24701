"""Sources of labelled images: one module per kind, with a common interface."""

from __future__ import annotations

from pathlib import Path

from clothclf.data.sources.listing import Finding, Listing, Query, Source
from clothclf.data.sources.selection import Chosen, list_rows
from clothclf.errors import DataError
from clothclf.settings import DataSettings
from clothclf.settings.data import BUILT_IN_SOURCES

__all__ = ["Chosen", "Finding", "Listing", "Query", "Source", "list_rows", "open_source"]


def open_source(settings: DataSettings, cache: Path) -> Source:
    """Open the source named in the settings; raises DataError if it does not exist.

    `cache` stores the demo images and downloads from the hub.
    """
    if settings.source == "demo":
        from clothclf.data.sources.demo import open_demo

        return open_demo(settings.demo, cache)
    if settings.source == "hub":
        from clothclf.data.sources.hub import open_hub

        return open_hub(settings, cache)
    if settings.source not in BUILT_IN_SOURCES:
        from clothclf.data.sources.plugins import open_plugin

        return open_plugin(settings)
    if settings.path is None:
        raise DataError(f"data.path: required by source {settings.source}")
    return _open_path(settings.source, settings.path, settings.image)


def _open_path(name: str, path: Path, image: str | None) -> Source:
    if name == "folder":
        from clothclf.data.sources.folder import FolderSource

        return FolderSource(path)
    if name == "table":
        from clothclf.data.sources.image_table import TableSource

        return TableSource(path, image)
    from clothclf.data.sources.kaggle import KaggleSource

    return KaggleSource(path)
