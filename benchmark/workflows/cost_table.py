"""Count and format costs for `bench cost`; each architecture in a separate process."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmark.config.study import StudySettings
from benchmark.planning.architecture_names import expand, match_architectures, sized
from benchmark.report import measured
from benchmark.text.numbers import (
    Headline,
    deployed_note,
    giga,
    markdown_table,
    millions,
    relative_text,
)
from clothclf.cost.catalogue import COLUMNS as CSV_COLUMNS
from clothclf.cost.catalogue import CatalogueRow, count_catalogue
from clothclf.cost.count import CostRequest, cost_to_dict, count_cost
from clothclf.cost.counters.registry import COMPARED
from clothclf.cost.detail import ModuleRow
from clothclf.cost.measure.request import measure_cost
from clothclf.csv_text import csv_text
from clothclf.errors import CostError
from clothclf.results import Cost, MeasuredCost
from clothclf.settings import HeadSettings

DEMO_CLASSES = 11
COLUMNS = (
    "architecture",
    "px",
    "parameters",
    "MACs",
    "FLOPs",
    *COMPARED,
    "flopth vs. fvcore",
    "verdict",
    "activations",
    "weights",
    "receptive field",
)
"""Columns of the table. MACs, FLOPs (2 x MACs) and activations: one forward pass of one image."""

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Costed:
    """Counted cost of an architecture, and its measured cost if requested."""

    cost: Cost
    measured: MeasuredCost | None


def study_requests(
    study: StudySettings, requested: Sequence[str], classes: int | None
) -> list[CostRequest]:
    """Requests for the given architectures, or all of a study, with its heads and image sizes."""
    # The data is not read here: use the maximum number of classes of the study.
    number = classes or study.data.max_classes or DEMO_CLASSES
    return [
        CostRequest(
            architecture=entry.name,
            image_size=entry.image_size if isinstance(entry.image_size, int) else 0,
            classes=number,
            head=entry.head or study.model.head,
            frozen=study.model.mode == "frozen",
            standardize=study.model.standardize_features,
        )
        for entry in sized(study, expand(match_architectures(study, requested)))
    ]


def plain_requests(
    requested: Sequence[str], image_size: int | None, classes: int | None
) -> list[CostRequest]:
    """Requests for timm's networks, by default with their own input size and classes."""
    from clothclf.models.architectures import expand_names

    return [
        CostRequest(name, image_size or 0, classes or 0, HeadSettings(), False, own_classifier=True)
        for name in expand_names(requested)
    ]


def count_all(
    requests: Sequence[CostRequest], notify: Notify, measure_on: str | None = None
) -> tuple[list[Costed], dict[str, str]]:
    """Count each architecture; return the costs, and an error per architecture that failed.

    With `measure_on`, also measure each on this device, one after the other.
    """
    costs: list[Costed] = []
    errors: dict[str, str] = {}
    for number, request in enumerate(requests, 1):
        if len(requests) > 1:
            notify(f"[{number}/{len(requests)}] {request.architecture}")
        try:
            cost = count_cost(request)
        except CostError as error:
            errors[request.architecture] = str(error)
            continue
        measurement = None
        if measure_on is not None:
            try:
                measurement = measure_cost(request, measure_on)
            except CostError as error:
                errors[request.architecture] = str(error)
        costs.append(Costed(cost, measurement))
    return costs, errors


def count_all_of_timm(file: Path, workers: int, quick: bool, notify: Notify) -> tuple[int, int]:
    """Count all timm models into a CSV file; return the number of rows, and of counted ones.

    Rows that are already in the file are kept, so an interrupted count can be resumed.
    """
    from clothclf.models.architectures import expand_names

    names = expand_names(["*"])
    done = 0

    def on_row(row: CatalogueRow) -> None:
        nonlocal done
        done += 1
        notify(f"[{done}] {row.architecture}: {row.macs or row.reason}")

    count_catalogue(names, file, workers, on_row, quick)
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return len(rows), sum(bool(row["macs"]) for row in rows)


def cells(cost: Cost) -> list[str]:
    """Format the cost as a row of the table."""
    headline = Headline.of(cost)
    return [
        cost.architecture,
        cost.size_text,
        headline.params,
        headline.macs,
        headline.flops,
        *(giga(cost.counted_macs(name)) for name in COMPARED),
        relative_text(cost.relative_difference),
        cost.verdict,
        millions(cost.activations),
        f"{cost.weight_bytes / 2**20:.1f} MiB",
        str(cost.receptive_field) if cost.receptive_field else "-",
    ]


def reasons(costs: Sequence[Cost]) -> list[str]:
    """Notes on counted forms and on counters that differ from the headline, one line each."""
    two_forms = deployed_note([
        (cost.architecture, cost.training_macs, cost.training_params) for cost in costs
    ])  # fmt: skip
    lines = [two_forms] if two_forms else []
    return lines + [f"{cost.architecture}: {cost.reason}" for cost in costs if cost.reason]


def measured_rows(costs: Sequence[Costed]) -> list[measured.Measured]:
    """Name, measurement and headline MACs of each measured architecture."""
    return [
        (item.cost.architecture, item.measured, item.cost.macs)
        for item in costs
        if item.measured is not None
    ]


def as_markdown(counted: Sequence[Costed]) -> str:
    """Format tables and notes as Markdown."""
    costs = [item.cost for item in counted]
    parts = [markdown_table([cells(cost) for cost in costs], COLUMNS)]
    parts.append("\n".join(f"- {reason}" for reason in reasons(costs)))
    parts += measured.sections(measured_rows(counted))
    return "\n\n".join(part for part in parts if part) + "\n"


def as_csv(costs: Sequence[Costed], errors: dict[str, str]) -> str:
    """Format as CSV, one row per architecture, unrounded; failed ones have the reason."""
    rows: list[dict[str, object]] = [
        {**CatalogueRow.of(item.cost).cells(), **_flat(item)} for item in costs
    ]
    counted = {item.cost.architecture for item in costs}
    rows += [
        {**CatalogueRow.failed(name, reason).cells()}
        for name, reason in errors.items()
        if name not in counted
    ]
    columns = dict.fromkeys([*CSV_COLUMNS, *(key for row in rows for key in row)])
    return csv_text(list(columns), ([row.get(key) for key in columns] for row in rows))


def _flat(item: Costed) -> dict[str, object]:
    return {} if item.measured is None else measured.flat(item.measured, item.cost.macs)


def as_json(costs: Sequence[Costed], errors: dict[str, str]) -> str:
    """Format all counts, by operator and module too, and all measured passes as JSON."""
    counted = [
        {
            "flops": item.cost.flops,
            "verdict": item.cost.verdict,
            **_counted(item.cost),
            "measured": None if item.measured is None else asdict(item.measured),
        }
        for item in costs
    ]
    return json.dumps({"costs": counted, "errors": errors}, indent=1) + "\n"


def _counted(cost: Cost) -> dict[str, object]:
    """Return the cost with each counter's result and verdict under separate keys."""
    values = cost_to_dict(cost)
    results, verdicts = values.pop("counters"), values.pop("verdicts")
    return {
        **values,
        **results,
        **{f"{name}_verdict": verdict for name, verdict in verdicts.items()},
    }


DETAIL_COLUMNS = ("module", "kind", "parameters", "MACs", "share", "output shape")


def detail_cells(row: ModuleRow) -> list[str]:
    """Format a row of the module tree, with the name indented by its depth."""
    shape = "-" if row.output_shape is None else " x ".join(map(str, row.output_shape))
    name = row.name.rpartition(".")[2] or "(whole)"
    figures = [f"{row.params:,}", f"{row.macs:,}", f"{100 * row.share:.1f} %"]
    return ["  " * row.depth + name, row.kind, *figures, shape]
