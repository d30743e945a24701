"""Format numbers and Markdown tables."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from clothclf.cost.counters.registry import COMPARED
from clothclf.results import Cost

COUNTERS_AGREE_WITHIN = 0.02
DEPLOYED = " (d)"
"""Mark of a value of the deployed form that differs from the training form."""
MAX_FORMS_LISTED = 8


def giga(count: int | None) -> str:
    """Format a count in units of 10^9; a dash for None."""
    return "-" if count is None else f"{count / 1e9:.3f} G"


def millions(count: int | None) -> str:
    """Format a count in units of 10^6; a dash for None."""
    return "-" if count is None else f"{count / 1e6:.2f} M"


class Headline(NamedTuple):
    """Costs of a network's deployed form, as text."""

    macs: str
    flops: str
    params: str

    @staticmethod
    def of(cost: Cost | None) -> Headline:
        """Format costs, marked where the training form differs; dashes without costs."""
        if cost is None:
            return Headline("-", "-", "-")
        macs = deployed_mark(cost.macs, cost.training_macs)
        params = deployed_mark(cost.params, cost.training_params)
        return Headline(
            giga(cost.macs) + macs, giga(cost.flops) + macs, millions(cost.params) + params
        )


def deployed_mark(count: int | None, training: int | None) -> str:
    """DEPLOYED if the training form has a different count, else an empty string."""
    return "" if training in (None, count) else DEPLOYED


def deployed_note(forms: Sequence[tuple[str, int | None, int | None]]) -> str:
    """Explain the mark and list training costs; empty if no network has two forms.

    `forms` holds names with MACs and parameters of the training form, None if it is the only one.
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
        f"{DEPLOYED.strip()} marks values of the deployed form, re-parameterized after training. "
        "Latency, throughput, inference memory and exported files also use it; "
        f"{', '.join(COMPARED)} and trainable parameters use the training form: "
        f"{', '.join(listed)}."
    )


def mebibytes(count: int) -> str:
    """Format bytes in MiB."""
    return f"{count / 2**20:,.0f} MiB"


def duration(seconds: float) -> str:
    """Format a duration: `48 s`, `12 min 5 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def relative_text(difference: float | None) -> str:
    """Format a relative difference in percent, marked if above COUNTERS_AGREE_WITHIN."""
    if difference is None:
        return "-"
    mark = " (!)" if abs(difference) > COUNTERS_AGREE_WITHIN else ""
    return f"{100 * difference:+.2f} %{mark}"


def inline(text: str) -> str:
    """Escape untrusted text for Markdown: one line, no HTML, no links."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line.replace("<", "&lt;").replace("](", "]\\(")


def markdown_table(
    rows: Sequence[Sequence[str]], columns: Sequence[str], links: Sequence[str] = ()
) -> str:
    """Render a Markdown table without a trailing line break.

    The last cell of each row links to the address of its place in `links`, unless that is empty.
    """

    def line(cells: Sequence[str], link: str = "") -> str:
        texts = [inline(cell).replace("|", "\\|") for cell in cells]
        if link:
            texts[-1] = f"[{texts[-1]}]({link})"
        return "| " + " | ".join(texts) + " |"

    lines = [line(row, link) for row, link in itertools.zip_longest(rows, links, fillvalue="")]
    return "\n".join([line(columns), line(["---"] * len(columns)), *lines])
