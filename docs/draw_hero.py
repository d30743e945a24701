"""Draw the image at the top of the README: `python docs/draw_hero.py report.html docs/report.png`.

It shows the pick of a report with its chart and figures, and six mistakes. Text stays readable on a
phone, where the image is 358 pixels wide.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH = 560
"""Width of the page in pixels; the image has twice as many."""
MAX_BYTES = 200_000
MISTAKES = 6
COLOURS = 128
ONLY_PICK_AND_MISTAKES = """count => {
    const card = document.querySelector(".pick-card")
    card.querySelectorAll("details, .choice-note").forEach(part => part.remove())
    const images = [...document.querySelectorAll("ul.images > li")].slice(0, count)
    const list = document.createElement("ul")
    list.className = "images"
    list.append(...images)
    list.style.cssText = "display: grid; grid-template-columns: repeat(3, 1fr); margin: 16px 0 0"
    const main = document.querySelector("main")
    main.replaceChildren(card, list)
    document.body.replaceChildren(main)
    main.style.padding = "16px"
}"""


def draw(report: Path, target: Path) -> None:
    """Write the image of a report as a PNG of at most MAX_BYTES; raises SystemExit if larger."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(
            viewport={"width": WIDTH, "height": 900}, device_scale_factor=2, color_scheme="light"
        )
        page.goto(report.resolve().as_uri())
        page.wait_for_timeout(1000)  # for the charts
        page.evaluate(ONLY_PICK_AND_MISTAKES, MISTAKES)
        screenshot = page.locator("main").screenshot()
        browser.close()
    image = Image.open(io.BytesIO(screenshot)).convert("RGB").quantize(COLOURS)
    image.save(target, optimize=True)
    if target.stat().st_size > MAX_BYTES:
        raise SystemExit(f"{target}: {target.stat().st_size:,} bytes, more than {MAX_BYTES:,}")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
