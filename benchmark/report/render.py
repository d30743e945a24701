"""Write a report as markdown, CSV or JSON; every figure comes from the rows."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Sequence

from benchmark.report import measured
from benchmark.report.collect import Collection, Comparison
from benchmark.report.numbers import giga, inline, markdown_table, millions, relative_text
from benchmark.report.pick import Pick, choose
from benchmark.report.table import Row, make_rows
from benchmark.study import StudySettings
from clothclf.results import DataSummary
from clothclf.settings import ModelSettings, TrainSettings

COLUMNS = (
    "architecture",
    "mode",
    "weights",
    "accuracy",
    "macro-F1",
    "MACs",
    "FLOPs",
    "parameters",
    "training time",
    "status",
)
"""FLOPs are 2 x MACs; both are of one forward pass of one picture."""


def render_markdown(study: StudySettings, collection: Collection) -> str:
    """The report for people."""
    parts = [f"# {study.study}"]
    for number, comparison in enumerate(collection.comparisons):
        if number:
            parts.append(f"## Other data, fingerprint {_summary(comparison).fingerprint}")
        parts += _markdown_comparison(comparison, collection.not_begun if number == 0 else [])
    if collection.elsewhere:
        parts.append(
            "Not in these tables, because their protocol or data settings differ: "
            f"{inline('; '.join(collection.elsewhere))}."
        )
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_comparison(comparison: Comparison, not_begun: Sequence[str]) -> list[str]:
    rows = make_rows(comparison)
    spec = comparison.specs[0]
    parts = [
        f"**Data**: {inline(describe_data(spec.data_summary))}",
        f"**Protocol**: {describe_protocol(spec.data.image_size, spec.model, spec.train)}",
    ]
    pick = choose(rows)
    if pick is not None:
        parts.append(f"**Pick**: {inline(pick.sentence)}")
    parts.append(markdown_table(table_cells(comparison, not_begun), COLUMNS))
    parts += _caveats(comparison, rows)
    if rows:
        parts.append("### Costs, counter by counter")
        parts.append(markdown_table([_cost_cells(row) for row in rows], COST_COLUMNS))
        reasons = [(architecture_name(row), row.cost.reason) for row in rows if row.cost]
        parts.append(
            "\n".join(f"- {inline(f'{name}: {reason}')}" for name, reason in reasons if reason)
        )
        parts += _measured_sections(rows)
    return parts


def _measured_sections(rows: Sequence[Row]) -> list[str]:
    found = [(architecture_name(r), r.measured, r.macs) for r in rows if r.measured is not None]
    faults = [
        f"- {inline(f'{architecture_name(r)}: {r.measured_fault}')}"
        for r in rows
        if r.measured_fault
    ]
    parts = measured.sections(found)
    if faults:
        parts += ["### Not measured", "\n".join(faults)]
    return parts


def describe_data(data: DataSummary) -> str:
    """The data in one line."""
    images = data.images
    left_out = sum(data.dropped.values())
    return (
        f"{data.title}; {len(data.classes)} classes, "
        f"{sum(images.values()):,} images: {images['train']:,} training, {images['valid']:,} "
        f"validation, {images['test']:,} test; {left_out:,} left out; {data.twin_groups} groups of "
        f"pixel-identical twins, {data.twins_across_splits} of them across splits; "
        f"fingerprint {data.fingerprint}"
    )


def describe_protocol(image_size: int, model: ModelSettings, train: TrainSettings) -> str:
    """The protocol in one line."""
    parts = [f"{image_size} x {image_size} px"]
    if model.mode == "frozen":
        parts.append(f"frozen body, batch norm {model.batch_norm}")
        parts += ["standardised features"] if model.standardize_features else []
    else:
        parts.append("all parameters trained" + (" from scratch" * (model.mode == "scratch")))
    parts.append(
        f"{train.optimizer.upper()}, learning rate {train.learning_rate:g} ({train.schedule}), "
        f"momentum {train.momentum:g}, weight decay {train.weight_decay:g}"
    )
    stop = f", stopping after {train.patience} without progress" if train.patience else ""
    parts.append(f"batch {train.batch_size}, at most {train.epochs} epochs{stop}")
    augment = ["horizontal flip"] if train.augment.horizontal_flip else []
    augment += [f"crop with {train.augment.crop_padding} px"] if train.augment.crop_padding else []
    parts.append(" and ".join(augment) or "no augmentation")
    parts += [f"precision {model.precision}"] if model.precision != "float32" else []
    parts.append("test split evaluated once, with the epoch of the lowest validation loss")
    return "; ".join(parts)


def table_cells(comparison: Comparison, not_begun: Sequence[str] = ()) -> list[list[str]]:
    """The main table as text: finished rows, then what failed, stopped or has not begun."""
    cells = [
        [
            architecture_name(row),
            row.mode,
            row.weights,
            accuracy_text(row),
            f"{row.macro_f1:.4f}",
            giga(row.macs),
            giga(row.cost.flops if row.cost else None),
            millions(row.cost.params if row.cost else None),
            f"{row.train_s:.0f} s",
            _status(row),
        ]
        for row in make_rows(comparison)
    ]
    cells += [
        _empty_row(failure.spec.name, f"failed in {failure.stage}: {failure.reason}")
        for failure in comparison.failures
    ]
    cells += [_empty_row(spec.name, "unfinished") for spec in comparison.unfinished]
    cells += [_empty_row(name, "not begun") for name in not_begun]
    return cells


def _empty_row(name: str, status: str) -> list[str]:
    return [name, *["-"] * (len(COLUMNS) - 2), status]


def _status(row: Row) -> str:
    return "finished" if len(row.seeds) == 1 else f"finished, {len(row.seeds)} seeds"


def architecture_name(row: Row) -> str:
    """The architecture, with the head's hidden layer where it has one."""
    return row.architecture if row.hidden is None else f"{row.architecture} (head {row.hidden})"


def accuracy_text(row: Row) -> str:
    """Test accuracy in per cent, with the deviation over seeds where there are several."""
    text = f"{100 * row.accuracy:.2f} %"
    if row.accuracy_deviation is not None:
        text += f" ± {100 * row.accuracy_deviation:.2f}"
    return text


COST_COLUMNS = (
    "architecture",
    "MACs",
    "flopth",
    "fvcore",
    "flopth against fvcore",
    "verdict",
    "receptive field",
)


def _cost_cells(row: Row) -> list[str]:
    cost = row.cost
    if cost is None:
        return [architecture_name(row), *["-"] * 4, f"not counted: {row.cost_fault}", "-"]
    return [
        architecture_name(row),
        giga(cost.macs),
        giga(cost.flopth.macs),
        giga(cost.fvcore.macs),
        relative_text(cost.relative_difference),
        cost.verdict,
        str(cost.receptive_field) if cost.receptive_field else "-",
    ]


def _caveats(comparison: Comparison, rows: Sequence[Row]) -> list[str]:
    """What a reader must know before believing the table."""
    lines = []
    if comparison.specs[0].data_summary.synthetic:
        lines.append("- The pictures are drawn: these figures say nothing about real ones.")
    images = comparison.specs[0].data_summary.images["test"]
    if len(rows) > 1:
        apart = 100 * chance_difference(rows[0].accuracy, images)
        lines.append(
            f"- On {images:,} test images, accuracies less than about {apart:.1f} points apart may "
            "differ by chance."
        )
    random = [row.architecture for row in rows if row.weights_origin == "random"]
    if random:
        notes = {s.weights.note for s in comparison.specs if s.weights.note}
        why = f" ({'; '.join(sorted(notes))})" if notes else ""
        lines.append(f"- Weights are random for {', '.join(random)}{why}.")
        if len(random) < len(rows):
            lines.append("- Rows with random and with pretrained weights are different studies.")
    if comparison.specs[0].model.precision == "auto":
        lines += [f"- Bodies computed in {which}." for which in _by_precision(rows)]
    return ["\n".join(inline(line) for line in lines)] if lines else []


def _by_precision(rows: Sequence[Row]) -> list[str]:
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row.precision, []).append(architecture_name(row))
    return [f"{precision}: {', '.join(found)}" for precision, found in names.items()]


def chance_difference(accuracy: float, images: int) -> float:
    """How far apart two such accuracies may lie by chance alone (95 %, binomial, unpaired)."""
    return 1.96 * math.sqrt(2 * accuracy * (1 - accuracy) / images)


def render_csv(study: StudySettings, collection: Collection) -> str:
    """A line for each row, numbers unrounded; failed and unfinished runs have no figures."""
    output = io.StringIO()
    entries = [_flat(row, c) for c in collection.comparisons for row in make_rows(c)]
    entries += [
        {"study": study.study, "architecture": cells[0], "status": cells[-1]}
        for comparison in collection.comparisons
        for cells in table_cells(comparison)
        if cells[1] == "-"
    ]
    entries += [
        {"study": study.study, "architecture": name, "status": "not begun"}
        for name in collection.not_begun
    ]
    columns = dict.fromkeys(key for entry in entries for key in entry)
    writer = csv.DictWriter(output, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries)
    return output.getvalue()


def _flat(row: Row, comparison: Comparison) -> dict[str, object]:
    cost = row.cost
    return {
        "study": comparison.specs[0].study,
        "data": _summary(comparison).title,
        "synthetic_data": _summary(comparison).synthetic,
        "architecture": row.architecture,
        "status": row.status,
        "mode": row.mode,
        "weights": row.weights,
        "weights_origin": row.weights_origin,
        "head_hidden": row.hidden,
        "body_precision": row.precision,
        "seeds": " ".join(str(seed) for seed in row.seeds),
        "test_accuracy": row.accuracy,
        "test_accuracy_deviation": row.accuracy_deviation,
        "test_macro_f1": row.macro_f1,
        "valid_accuracy": row.valid_accuracy,
        "macs": cost.macs if cost else None,
        "flops": cost.flops if cost else None,
        "macs_flopth": cost.flopth.macs if cost else None,
        "macs_fvcore": cost.fvcore.macs if cost else None,
        "params": cost.params if cost else None,
        "train_s": row.train_s,
        "epochs": row.epochs,
        **measured.flat(row.measured, row.macs),
        "data_fingerprint": _summary(comparison).fingerprint,
        "protocol": comparison.specs[0].protocol_id,
    }


def render_json(study: StudySettings, collection: Collection) -> str:
    """The same figures, nested, with data, protocol and pick."""
    comparisons = []
    for comparison in collection.comparisons:
        rows, spec = make_rows(comparison), comparison.specs[0]
        comparisons.append(
            {
                "data": dataclasses.asdict(spec.data_summary),
                "protocol": {
                    "id": spec.protocol_id,
                    "image_size": spec.data.image_size,
                    "model": spec.model.model_dump(mode="json", exclude={"weights", "head"}),
                    "train": spec.train.model_dump(mode="json"),
                },
                "rows": [_flat(row, comparison) for row in rows],
                "failed": [
                    {"run": f.spec.name, "stage": f.stage, "reason": f.reason}
                    for f in comparison.failures
                ],
                "unfinished": [spec.name for spec in comparison.unfinished],
                "pick": _pick_json(choose(rows)),
            }
        )
    report = {
        "study": study.study,
        "comparisons": comparisons,
        "not_begun": collection.not_begun,
        "elsewhere": collection.elsewhere,
    }
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"


def _pick_json(pick: Pick | None) -> dict[str, object] | None:
    if pick is None:
        return None
    return {
        "most_accurate": pick.most_accurate.architecture,
        "trade_off": pick.trade_off.architecture,
        "pareto_front": [row.architecture for row in pick.front],
        "sentence": pick.sentence,
    }


def _summary(comparison: Comparison) -> DataSummary:
    return comparison.specs[0].data_summary


FORMATS: dict[str, Callable[[StudySettings, Collection], str]] = {
    "md": render_markdown,
    "csv": render_csv,
    "json": render_json,
}
