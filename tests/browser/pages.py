"""Reports to open in a browser, and what tests do with their pages."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark.report.analysis import analyse
from benchmark.report.page.html import render_html
from benchmark.report.pick_rule import NO_CRITERIA, Criteria
from tests.benchmark.drawn_study import Made

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WIDTHS = {1440: 900, 768: 1024, 390: 844}
"""Widths of windows, with their heights."""


def write(made: Made, path: Path, criteria: Criteria = NO_CRITERIA) -> Path:
    collection = made.collection()
    analyses = [analyse(comparison, made.root, criteria) for comparison in collection.comparisons]
    path.write_text(render_html(made.study, collection, analyses), "utf-8")
    return path


def all_drawn(page: Any) -> None:
    until(lambda: page.locator("[data-chart]:not([data-ready])").count() == 0)
    until(lambda: page.locator("html[data-complete]").count() == 1)


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """The page's policy forbids what Playwright's own waiting for an expression does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def keep_screenshot(page: Any, name: str, otherwise: Path, full_page: bool = True) -> None:
    folder = Path(os.environ.get("BENCH_SCREENSHOTS") or otherwise)
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / name, full_page=full_page)
