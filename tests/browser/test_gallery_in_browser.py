"""A gallery in a real browser, opened from its folder: it filters, sorts, and asks nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.gallery.site import build_gallery
from tests.benchmark.drawn_packs import draw_data, draw_packs
from tests.benchmark.test_gallery import HOSTILE, packed
from tests.browser.pages import (
    AXE,
    CHROMIUM,
    all_drawn,
    keep_screenshot,
    time_to_use,
    violations,
)

MAX_SECONDS = 1.0
MANY = 200
SHOWN = "#studies tbody tr:visible"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of eight studies, one of them with hostile texts."""
    folder = tmp_path_factory.mktemp("gallery")
    data = draw_data(HOSTILE, 3, 60, 99)
    hostile = packed(folder, "hostile", ("resnet18", "vgg16", "convnext_tiny"), data=data)
    build_gallery([*draw_packs(folder, 7, test_images=60), hostile], folder / "site")
    return folder / "site"


def choose(page: Any, menu: str, text: str) -> None:
    page.locator(f"[data-menu={menu}]").select_option(label=text)


def test_filters_narrow_both_tables(site: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(site / "index.html")
    assert page.locator(SHOWN).count() == 24
    studies = page.locator("[data-winners] tbody td:nth-child(2)")
    assert sum(map(int, studies.all_inner_texts())) == 24
    choose(page, "architecture", "vgg16")
    rows = page.locator(SHOWN)
    assert {text.split()[0] for text in rows.locator("th").all_inner_texts()} == {"vgg16"}
    assert page.locator("[data-winners] tbody th").all_inner_texts() == ["vgg16"]
    assert studies.all_inner_texts() == [str(rows.count())]
    choose(page, "architecture", "all")
    page.locator("[data-winners] a", has_text="resnet18").click()
    assert page.locator("[data-winners] tbody th").all_inner_texts() == ["resnet18"]
    choose(page, "architecture", "all")
    page.locator("label", has_text="picks").click()
    assert rows.count() == 8
    assert page.locator("[data-shown]").inner_text() == "8 of 24"
    page.get_by_role("searchbox").fill("hostile")
    assert rows.count() == 1
    assert "hostile" in rows.inner_text()


@pytest.mark.parametrize("title", ["accuracy (%)", "MACs", "latency", "vs. best"])
def test_figures_sort(title: str, site: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(site / "index.html")
    heads = page.locator("#studies thead th")
    place = heads.all_inner_texts().index(title)
    heads.nth(place).get_by_role("button").click()
    cells = page.locator(f"#studies tbody tr > :nth-child({place + 1})")
    values = [float(cell.get_attribute("data-value")) for cell in cells.all()]
    down = heads.nth(place).get_attribute("aria-sort") == "descending"
    assert down == (title in ("accuracy (%)", "vs. best"))
    assert values == sorted(values, reverse=down)


def test_links_lead_to_the_row_of_the_report_and_to_the_record(
    site: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(site / "index.html")
    row = page.locator(SHOWN).first
    name = row.locator("th a").inner_text()
    accuracy = row.locator("td").nth(1).locator("a")
    record = page.context.new_page()
    record.goto((site / accuracy.get_attribute("href")).as_uri())
    assert f'"architecture": "{name}"' in record.locator("body").inner_text()
    row.locator("th a").click()
    page.wait_for_url("**/studies/*/index.html#row-0-*")
    all_drawn(page)
    assert name in page.locator("tr:target").inner_text()
    assert page.locator("tr:target").is_visible()
    page.locator(".kind a").click()
    page.wait_for_url("**/site/index.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 768, 390])
def test_pages_fit_and_axe_finds_no_violation(
    site: Path, open_page: Callable[..., Any], width: int, scheme: str, tmp_path: Path
) -> None:
    [report] = site.glob("studies/hostile-*/index.html")
    for path in (site / "index.html", report):
        page = open_page(path, width, color_scheme=scheme)
        if path == report:
            all_drawn(page)
        over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(over) <= 0
        if AXE.is_file():
            assert violations(page) == []
        kind = "report" if path == report else "index"
        keep_screenshot(page, f"gallery-{kind}-{width}-{scheme}.png", tmp_path)


def test_the_policy_stops_inline_scripts(site: Path, browser: Any) -> None:
    """Text that got into a page would do nothing, even as a script."""
    context = browser.new_context()
    for path in (site / "index.html", next(site.glob("studies/*/index.html"))):
        page = context.new_page()
        page.goto(path.as_uri())
        page.evaluate(
            "() => { const made = document.createElement('script');"
            "made.textContent = 'window.harmed = 1'; document.body.append(made);"
            "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"harmed = 1\">'); }"
        )
        page.wait_for_timeout(200)
        assert page.evaluate("window.harmed === undefined")
    context.close()


@pytest.mark.slow
def test_the_first_page_of_two_hundred_studies_is_usable_within_a_second(
    tmp_path: Path, browser: Any, open_page: Callable[..., Any]
) -> None:
    build_gallery(draw_packs(tmp_path, MANY), tmp_path / "site")
    path = tmp_path / "site" / "index.html"
    assert time_to_use(browser, path, "[data-winners] tbody tr", "#studies thead th") < MAX_SECONDS
    page = open_page(path)
    for width in (1440, 800, 390):
        for scheme in ("light", "dark"):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            keep_screenshot(page, f"gallery-of-{MANY}-{width}-{scheme}.png", tmp_path, False)
