"""The documentation's site in a real browser, opened from its folder: search, both colour schemes.

Set BENCH_SCREENSHOTS to a folder to keep what the pages looked like.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("material", reason="the extra docs is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
ROOT = Path(__file__).parents[2]
WIDTHS = (1440, 390)
LOOKED_AT = ("index", "config-keys", "commands", "architecture", "example/index")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = (sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder))
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(params=["light", "dark"])
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page that notes errors and what it requests beside files."""
    context = browser.new_context(color_scheme=request.param)
    opened = context.new_page()
    opened.scheme = request.param
    opened.faults = []
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.on("console", lambda said: said.type == "error" and opened.faults.append(said.text))
    opened.on(
        "request",
        lambda asked: (
            asked.url.startswith(("file:", "data:", "blob:")) or opened.faults.append(asked.url)
        ),
    )
    yield opened
    context.close()


def test_search_finds_a_config_key_and_a_command(site: Path, page: Any) -> None:
    for words, place in (("label_smoothing", "config-keys.html"), ("select", "commands.html")):
        page.goto((site / "index.html").as_uri())
        page.click("input.md-search__input")
        page.keyboard.type(words)
        results = page.locator(f"a.md-search-result__link[href*='{place}']")
        results.first.wait_for(state="attached")
    assert page.faults == []


@pytest.mark.parametrize("name", LOOKED_AT)
def test_pages_fit_their_window(site: Path, page: Any, name: str, tmp_path: Path) -> None:
    """Nothing is wider than the window, though tables may be scrolled within."""
    folder = Path(os.environ.get("BENCH_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 1200})
        page.goto((site / f"{name}.html").as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth")
        shown = name.replace("/", "-")
        page.screenshot(path=str(folder / f"docs-{shown}-{page.scheme}-{width}.png"))
        assert wide <= width
    scheme = page.evaluate("document.body.dataset.mdColorScheme")
    assert scheme == {"light": "default", "dark": "slate"}[page.scheme]
    assert page.faults == []
