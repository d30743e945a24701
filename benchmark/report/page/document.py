"""HTML pages: a template with the style, scripts and data that it needs, in it or beside it."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.report.charts.style import DARK, LIGHT
from benchmark.report.page.figures import breakable, typeset

if TYPE_CHECKING:
    import jinja2

PAGE = Path(__file__).parent

# A page has no network access and runs only its own scripts, so that even unescaped text
# could do no harm. Vega's tooltips insert inline style sheets.
POLICY = (
    "default-src 'none'; script-src {scripts}; style-src {styles}'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
# A page that is opened from a folder has no origin that 'self' could mean.
OWN_FILES = "'self' file:"
STYLE = "page.css"


def render_page(
    template: Path,
    values: Mapping[str, Any],
    scripts: Sequence[str],
    data: object,
    assets: str = "",
) -> str:
    """Render a page that works offline, from a template that includes those of this folder.

    `scripts` are texts, each of which becomes one element; `data` is JSON in the element `data`.
    With `assets`, the relative path of a folder of `write_assets`, they are names of files there.
    """
    escaped = scripts if assets else [_as_script(text) for text in scripts]
    hashes = " ".join(f"'{_digest(text)}'" for text in escaped)
    return (
        _environment(template.parent)
        .get_template(template.name)
        .render(
            **values,
            policy=POLICY.format(
                scripts=OWN_FILES if assets else hashes, styles=f"{OWN_FILES} " if assets else ""
            ),
            style=f"{assets}/{STYLE}" if assets else style(),
            assets=assets,
            scripts=escaped,
            data=_as_json(data),
        )
    )


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    """Templates of a folder and of this one; they are compiled once."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, PAGE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = typeset
    environment.filters["breakable"] = breakable
    return environment


def style() -> str:
    """Return the style sheet of all pages, with the colours of charts."""
    light, dark = (
        " ".join(f"--{name}: {value};" for name, value in colours.variables().items())
        for colours in (LIGHT, DARK)
    )
    return (
        f":root {{ {light} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{\n:root {{ {dark} }}\n}}\n"
        f"{(PAGE / 'report.css').read_text('utf-8')}"
    )


def write_assets(folder: Path, scripts: Mapping[str, str]) -> None:
    """Write the style sheet, and scripts by the names of their files, for the pages of a site."""
    folder.mkdir()
    for name, text in {STYLE: style(), **scripts}.items():
        (folder / name).write_text(text, "utf-8")


def joined(*files: Path) -> str:
    """Join scripts that build on each other, in their order."""
    return "".join(file.read_text("utf-8") for file in files)


def _as_script(text: str) -> str:
    """Escape text that would end the script element; it only occurs inside strings."""
    return re.sub("<(?=/?script)", r"\\x3c", text.replace("\r\n", "\n"), flags=re.IGNORECASE)


def _as_json(value: object) -> str:
    """JSON without `<`, which could end the enclosing element."""
    text = json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
    # Short lines make reports diffable; inside a string the quote would be escaped.
    return text.replace('},{"', '},\n{"')


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
