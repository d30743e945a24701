"""Summarize a cost catalogue as tables in docs/costs.md: `python -m clothclf.cost.summary`."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from clothclf.cost.catalogue import CatalogueRow, read_catalogue
from clothclf.cost.counters.registry import COMPARED, COUNTERS
from clothclf.errors import CostError

BEGIN = "<!-- begin: written by python -m clothclf.cost.summary -->"
END = "<!-- end -->"

# One architecture of each kind, by year.
EXAMPLES = (
    "vgg16",
    "resnet50",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_b7",
    "vit_tiny_patch16_224",
    "mixer_b16_224",
    "swin_tiny_patch4_window7_224",
    "convnext_tiny",
    "convmixer_768_32",
    "sequencer2d_s",
    "maxvit_tiny_tf_224",
)


def main(arguments: Sequence[str]) -> None:
    """Write the summary of a CSV file (first argument) into a document (second)."""
    if len(arguments) != 2:
        sys.exit("usage: python -m clothclf.cost.summary COSTS.csv DOCUMENT.md")
    try:
        write_summary(Path(arguments[0]), Path(arguments[1]))
    except CostError as error:
        sys.exit(str(error))


def write_summary(catalogue: Path, document: Path) -> None:
    """Replace the text between the markers in `document`.

    Raises CostError if the document has no markers or the catalogue no rows.
    """
    rows = read_catalogue(catalogue)
    if not rows:
        raise CostError(f"{catalogue} has no rows to summarize")
    text = document.read_text(encoding="utf-8")
    region = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not region.search(text):
        raise CostError(f"{document} has no region between {BEGIN} and {END}")
    written = f"{BEGIN}\n\n{summarize(rows)}\n\n{END}"
    document.write_text(region.sub(lambda _: written, text, count=1), encoding="utf-8")


def summarize(rows: Sequence[CatalogueRow]) -> str:
    """Return Markdown tables: coverage, deviations from the headline, causes, and examples."""
    sections = (_coverage(rows), _deviations(rows), _causes(rows), _examples(rows))
    return "\n\n".join(section for section in sections if section)


def _coverage(rows: Sequence[CatalogueRow]) -> str:
    counted = [row for row in rows if row.macs]
    verdicts = Counter(row.verdict for row in rows)
    table = _table(
        ("verdict", "architectures", "share"),
        [
            (verdict, str(verdicts[verdict]), f"{verdicts[verdict] / len(rows):.1%}")
            for verdict in ("agreed", "explained", "disputed", "unchecked")
        ],
    )
    return f"Of {len(rows)} architectures, {len(counted)} have a headline.\n\n{table}"


def _deviations(rows: Sequence[CatalogueRow]) -> str:
    lines = []
    for name, counter in COUNTERS.items():
        deviations = {
            # Counters count the training form, whatever the headline is of.
            row.architecture: int(macs) / int(row.training_macs or row.macs) - 1
            for row in rows
            if row.macs and (macs := row.macs_by_counter[name])
        }
        if not deviations:
            continue
        sizes = [abs(value) for value in deviations.values()]
        worst = max(deviations, key=lambda name: abs(deviations[name]))
        lines.append((
            counter.title,
            str(len(deviations)),
            _share(size <= 0.02 for size in sizes),
            _share(size <= 0.05 for size in sizes),
            f"{median(sizes):.1%}",
            f"{deviations[worst]:+.1%} ({worst})",
        ))  # fmt: skip
    head = ("counter", "figures", "within 2 %", "within 5 %", "median deviation", "largest")
    return f"Deviation from the headline:\n\n{_table(head, lines)}"


def _causes(rows: Sequence[CatalogueRow]) -> str:
    named: Counter[str] = Counter()
    for row in rows:
        for part in row.reason.split("; "):
            match = re.match(rf"({'|'.join(COMPARED)}) [+-][\d.]+%: (.*)", part)
            if match:
                causes = re.findall(r"(?:^|%, )(.+?) [+-][\d.]+(?=%)", match[2])
                named.update(f"{match[1]}: {cause}" for cause in causes)
    if not named:
        return ""
    lines = [(cause, str(count)) for cause, count in named.most_common(12)]
    return f"Causes of deviations:\n\n{_table(('cause', 'architectures'), lines)}"


def _examples(rows: Sequence[CatalogueRow]) -> str:
    by_name = {row.architecture: row for row in rows}
    lines = [
        (
            row.architecture,
            f"{row.image_size} px",
            _millions(row.params),
            *(_giga(macs) for macs in (row.macs, *row.macs_by_counter.values())),
            row.receptive_field,
        )
        for row in (by_name[name] for name in EXAMPLES if name in by_name)
    ]
    if not lines:
        return ""
    head = (
        *("architecture", "image", "parameters", "headline MACs"),
        *(*COUNTERS, "receptive field"),
    )
    return f"Examples:\n\n{_table(head, lines)}"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


def _share(hits: Iterable[bool]) -> str:
    values = list(hits)
    return f"{sum(values) / len(values):.1%}"


def _giga(text: str) -> str:
    return f"{int(text) / 1e9:.3f} G" if text else "none"


def _millions(text: str) -> str:
    return f"{int(text) / 1e6:.1f} M" if text else "none"


if __name__ == "__main__":
    main(sys.argv[1:])
