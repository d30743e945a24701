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
AXE = Path(os.environ.get("BENCH_AXE") or "build/node_modules/axe-core/axe.min.js")
"""Script of the npm package axe-core, which checks accessibility; `.ci/run` installs it."""
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


def violations(page: Any) -> list[str]:
    """What axe finds; nothing where it is not installed."""
    if not AXE.is_file():
        return []
    page.evaluate(AXE.read_text("utf-8"))
    # Its preloading would fetch the style sheet of a site, which the policy forbids.
    found = page.evaluate("axe.run({ preload: false }).then((result) => result.violations)")
    return [
        f"{item['id']}: {node['html'][:200]} {node['failureSummary']}"
        for item in found
        for node in item["nodes"]
    ]


def time_to_use(browser: Any, path: Path, ready: str, heads: str) -> float:
    """Least seconds of five from opening a page until `ready` is there and its table is sorted.

    `heads` selects the headings of the table, of which the second is clicked. Where others have the
    cores, the clock tells of them: then it is what the page's main thread had of a core.
    """
    timed = [_time_to_use(browser, path, ready, heads) for _ in range(5)]
    waited, worked = (min(times) for times in zip(*timed, strict=True))
    print(f"{path.stat().st_size / 1e6:.2f} MB; usable after {waited:.2f} s, of which the page's")
    print(f"own work is {worked:.2f} s; load {os.getloadavg()[0]:.1f}")
    return waited if os.getloadavg()[0] <= (os.cpu_count() or 1) else worked


def _time_to_use(browser: Any, path: Path, ready: str, heads: str) -> tuple[float, float]:
    context = browser.new_context(viewport={"width": 1440, "height": WIDTHS[1440]})
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    started = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector(ready, state="attached")
    page.locator(heads).nth(1).get_by_role("button").click()
    page.wait_for_selector("th[aria-sort]")
    waited = time.perf_counter() - started
    metrics = session.send("Performance.getMetrics")["metrics"]
    context.close()
    return waited, next(item["value"] for item in metrics if item["name"] == "TaskDuration")
