"""How figures are written for people, and tables in markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from clothclf.results import Cost

COUNTERS_AGREE_WITHIN = 0.02
DEPLOYED = " (d)"
"""Mark of a figure of the deployed form, where the form that trains has another."""
MAX_FORMS_LISTED = 8


def giga(count: int | None) -> str:
    """A count in units of 10^9, or a dash."""
    return "-" if count is None else f"{count / 1e9:.3f} G"


def millions(count: int | None) -> str:
    """A count in units of 10^6, or a dash."""
    return "-" if count is None else f"{count / 1e6:.2f} M"


class Headline(NamedTuple):
    """What a network costs, as text, in the form that is deployed."""

    macs: str
    flops: str
    params: str

    @staticmethod
    def of(cost: Cost | None) -> Headline:
        """Marked where the form that trains has other figures; dashes where nothing was counted."""
        if cost is None:
            return Headline("-", "-", "-")
        macs = deployed_mark(cost.macs, cost.training_macs)
        params = deployed_mark(cost.params, cost.training_params)
        return Headline(
            giga(cost.macs) + macs, giga(cost.flops) + macs, millions(cost.params) + params
        )


def deployed_mark(count: int | None, training: int | None) -> str:
    """DEPLOYED where the form that trains has another count, else nothing."""
    return "" if training in (None, count) else DEPLOYED


def deployed_note(forms: Sequence[tuple[str, int | None, int | None]]) -> str:
    """What the mark means, and what training takes; empty where no network has two forms.

    `forms` are names with MACs and parameters of the form that trains, None where it is the only
    one.
    """
    two = [(name, macs, params) for name, macs, params in forms if params is not None]
    if not two:
        return ""
    listed = [
        f"{name} {giga(macs)} MACs and {millions(params)} parameters"
        for name, macs, params in two[:MAX_FORMS_LISTED]
    ]
    more = len(two) - len(listed)
    listed += [f"{more} more architectures"] if more > 0 else []
    return (
        f"{DEPLOYED.strip()} marks the deployed form, re-parameterised after training, which "
        "latency, throughput, inference memory and exported files are of, too; flopth, fvcore and "
        f"trainable parameters are of the training form, which takes: {', '.join(listed)}."
    )


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
