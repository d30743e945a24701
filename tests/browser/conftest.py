"""A browser, and pages in it that must say nothing and ask for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.pages import ARGUMENTS, CHROMIUM, WIDTHS


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page; in the end it must have said nothing and asked for nothing."""
    faults: list[str] = []
    contexts = []

    def opened(path: Path, width: int = 1440, fragment: str = "", **settings: Any) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": WIDTHS.get(width, 900)}, **settings
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("request", lambda request: _heard(request.url, faults))
        page.goto(path.as_uri() + fragment)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults


def _heard(address: str, faults: list[str]) -> None:
    if not address.startswith(("file:", "data:", "blob:")):
        faults.append(f"request: {address}")
