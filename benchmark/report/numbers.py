"""How figures are written for people, and tables in markdown."""

from __future__ import annotations

from collections.abc import Sequence

COUNTERS_AGREE_WITHIN = 0.02


def giga(count: int | None) -> str:
    """A count in units of 10^9, or a dash."""
    return "-" if count is None else f"{count / 1e9:.3f} G"


def millions(count: int | None) -> str:
    """A count in units of 10^6, or a dash."""
    return "-" if count is None else f"{count / 1e6:.2f} M"


def mebibytes(count: int) -> str:
    """Bytes in units of 2^20."""
    return f"{count / 2**20:,.0f} MiB"


def duration(seconds: float) -> str:
    """A time in the units that suit it: `48 s`, `12 min 5 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def relative_text(difference: float | None) -> str:
    """A relative difference in per cent, marked where it is above COUNTERS_AGREE_WITHIN."""
    if difference is None:
        return "-"
    mark = " (!)" if abs(difference) > COUNTERS_AGREE_WITHIN else ""
    return f"{100 * difference:+.2f} %{mark}"


def inline(text: str) -> str:
    """Text of others inside markdown: one line, and neither HTML nor a link."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line.replace("<", "&lt;").replace("](", "]\\(")


def markdown_table(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    """A table in markdown, without a line break at its end."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(inline(cell).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(columns), line(["---"] * len(columns)), *(line(row) for row in rows)])
