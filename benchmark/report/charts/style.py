"""Style of all charts: fonts, lines and colours that suit colour-blind readers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Colours:
    """Colour palette; every value is a CSS colour."""

    ink: str
    """Text."""
    muted: str
    """Secondary text and marks."""
    line: str
    """Table rules and chart grids."""
    paper: str
    """Background."""
    panel: str
    """Background of panels."""
    accent: str
    """Emphasis."""
    error: str
    """Errors and failures."""
    series: tuple[str, ...]
    """Line colours; lines also differ in their dashes."""

    def variables(self) -> dict[str, str]:
        """Values by CSS variable name."""
        plain = {name: value for name, value in asdict(self).items() if name != "series"}
        numbered = {f"series-{n}": colour for n, colour in enumerate(self.series, 1)}
        return {**plain, **numbered}


LIGHT = Colours(
    ink="#1b1f27",
    muted="#5b6472",
    line="#dfe3ea",
    paper="#ffffff",
    panel="#f5f7fa",
    accent="#0b63b5",
    error="#b3400a",
    # After Okabe and Ito (2008), darker where contrast on white requires it.
    series=("#0b63b5", "#96420a", "#10a36c", "#ad1a74", "#ad8200", "#1b1f27"),
)
DARK = Colours(
    ink="#e7eaf0",
    muted="#9aa5b5",
    line="#2c3442",
    paper="#12161d",
    panel="#1a2029",
    accent="#6cb3f5",
    error="#ff9a5c",
    series=("#6cb3f5", "#ff8a4c", "#2fbf8f", "#e79ac6", "#f2e58f", "#e7eaf0"),
)
VARIABLES = Colours(
    **{name: f"var(--{name})" for name in LIGHT.variables() if not name.startswith("series-")},
    series=tuple(f"var(--series-{number})" for number in range(1, len(LIGHT.series) + 1)),
)
"""Palette of charts inside the page, whose style sheet sets the values for light and dark."""

DASHES: tuple[tuple[int, ...], ...] = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (5, 2), (12, 4))
"""Dash patterns of the series, in order; the first is solid."""


def config(colours: Colours) -> dict[str, Any]:
    """Vega-Lite `config` for a chart in these colours."""
    text = {"labelColor": colours.muted, "titleColor": colours.ink}
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            **text,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "titlePadding": 10,
            "gridColor": colours.line,
            "domainColor": colours.muted,
            "tickColor": colours.muted,
            "labelOverlap": True,
        },
        "legend": {**text, "labelFontSize": 12, "title": None, "orient": "top", "labelLimit": 260},
        "title": {
            "color": colours.ink,
            "subtitleColor": colours.muted,
            "anchor": "start",
            "fontSize": 15,
            "subtitleFontSize": 12,
            "fontWeight": 600,
            "offset": 14,
        },
    }
