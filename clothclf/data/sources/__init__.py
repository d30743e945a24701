"""Sources of labelled images: one module per kind, with a common interface.

To add one, write `NAME_source.py` with `open_source`, and add one entry to `BUILT_IN_SOURCES` in
`clothclf/settings/data.py`. Settings and messages then have it.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from clothclf.data.sources.listing import Finding, Listing, Query, Source
from clothclf.data.sources.selection import Chosen, list_rows
from clothclf.settings import DataSettings
from clothclf.settings.data import BUILT_IN_SOURCES

__all__ = ["Chosen", "Finding", "Listing", "Query", "Source", "list_rows", "open_source"]


def open_source(settings: DataSettings, cache: Path) -> Source:
    """Open the source named in the settings; raises DataError if it does not exist.

    `cache` stores the demo images and downloads from the hub.
    """
    if settings.source not in BUILT_IN_SOURCES:
        from clothclf.data.sources.plugins import open_plugin

        return open_plugin(settings)
    module = importlib.import_module(f"{__name__}.{settings.source}_source")
    opened: Source = module.open_source(settings, cache)
    return opened
