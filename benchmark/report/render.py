"""Text shared by all report formats: table cells, description of data and protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.report.analysis import Analysis
from benchmark.report.collect import Comparison
from benchmark.report.pairs import Pair, p_text
from benchmark.report.pick import margin_text, verdict_text
from benchmark.report.rows import Row
from benchmark.text.numbers import Headline, giga, relative_text
from benchmark.text.recipe_text import (
    augment_words,
    has_momentum,
    label_words,
    optimizer_words,
    tuning_words,
)
from clothclf.cost.counters.registry import COMPARED
from clothclf.results import DataSummary
from clothclf.settings import ModelSettings, TrainSettings, TuningSettings
from clothclf.training.metrics import METRICS, Metric

COLUMNS = (
    "architecture",
    "weights",
    "accuracy",
    "95 % CI",
    "vs. best",
    "macro-F1",
    "MACs",
    "FLOPs",
    "parameters",
    "training time",
    "status",
)
"""Columns of the main table; MACs and FLOPs (2 x MACs) are of one forward pass of one image."""
PX = "px"

MAX_SIZES = 8
"""Maximum number of image sizes to list individually."""


def columns(analysis: Analysis) -> tuple[str, ...]:
    """Columns of the main table, with the image size in pixels where sizes differ."""
    if not any(row.sizes_differ for row in analysis.rows):
        return COLUMNS
    return (COLUMNS[0], PX, *COLUMNS[1:])


def table_cells(analysis: Analysis, not_started: Sequence[str] = ()) -> list[list[str]]:
    """Cells of the main table: finished rows, then runs without results."""
    cells = [
        [
            row.name,
            row.weights,
            accuracy_text(row),
            interval_text(analysis, index),
            against_best_text(analysis, index),
            f"{row.macro_f1:.4f}",
            *Headline.of(row.cost),
            f"{row.train_s:.0f} s",
            _status(row),
        ]
        for index, row in enumerate(analysis.rows)
    ]
    if PX in (titles := columns(analysis)):
        for row, own in zip(analysis.rows, cells, strict=True):
            own.insert(1, str(row.image_size))
    blank = ["-"] * (len(titles) - 2)
    runs = runs_without_figures(analysis.comparison, not_started)
    return [*cells, *([run.name, *blank, run.text] for run in runs)]


@dataclass(frozen=True)
class RunWithoutFigures:
    """A run that a report lists without results."""

    name: str
    status: str
    """`failed in STAGE`, `unfinished`, `rejected` or `not started`."""
    reason: str = ""
    """Empty if the status needs no explanation."""

    @property
    def text(self) -> str:
        """Status and reason in one cell."""
        return f"{self.status}: {self.reason}" if self.reason else self.status


def runs_without_figures(
    comparison: Comparison, not_started: Sequence[str] = ()
) -> list[RunWithoutFigures]:
    """Runs that every format lists below the finished rows, in this order."""
    return [
        *(
            RunWithoutFigures(failure.spec.name, f"failed in {failure.stage}", failure.reason)
            for failure in comparison.failures
        ),
        *(RunWithoutFigures(spec.name, "unfinished") for spec in comparison.unfinished),
        *(
            RunWithoutFigures(spec.name, "rejected", f"{why}; `bench run` repeats the run")
            for spec, why in comparison.refused
        ),
        *(RunWithoutFigures(name, "not started") for name in not_started),
    ]


def _status(row: Row) -> str:
    return "finished" if len(row.seeds) == 1 else f"finished, {len(row.seeds)} seeds"


def accuracy_text(row: Row) -> str:
    """Test accuracy in percent, with the standard deviation over seeds if there are several."""
    text = f"{100 * row.accuracy:.2f} %"
    if row.accuracy_deviation is not None:
        text += f" ± {100 * row.accuracy_deviation:.2f}"
    return text


def interval_text(analysis: Analysis, index: int) -> str:
    """95 % confidence interval of a row's accuracy in percent, or a dash."""
    figures = analysis.statistics[index]
    if figures is None:
        return "-"
    return f"{100 * figures.accuracy.low:.2f} to {100 * figures.accuracy.high:.2f}"


def against_best_text(analysis: Analysis, index: int) -> str:
    """Difference in points to the most accurate row, with the verdict."""
    if index == 0:
        return "best"
    pair = analysis.pairs.get((0, index))
    if pair is None:
        return f"{100 * (analysis.rows[index].accuracy - analysis.rows[0].accuracy):+.2f}"
    return f"{100 * (0 - pair.difference):+.2f}, {verdict_text(pair)}"


PAIR_COLUMNS = (
    "more accurate",
    "less accurate",
    "difference (points)",
    "95 % CI",
    "correct: first only",
    "correct: second only",
    "McNemar (exact)",
    "paired bootstrap",
    "verdict",
    "to decide",
)
"""Columns of the table of pairs; `pair_note` says how they are adjusted."""


def pair_cells(analysis: Analysis) -> list[list[str]]:
    """Cells of the table of pairs."""
    return [
        [
            analysis.rows[pair.first].name,
            analysis.rows[pair.second].name,
            f"{100 * pair.difference:.2f}",
            f"{100 * pair.interval.low:.2f} to {100 * pair.interval.high:.2f}",
            f"{pair.only_first:.0f}",
            f"{pair.only_second:.0f}",
            p_text(pair.mcnemar_adjusted),
            p_text(pair.bootstrap_adjusted),
            verdict_text(pair),
            needed_text(analysis, pair),
        ]
        for pair in analysis.pairs.values()
    ]


def needed_text(analysis: Analysis, pair: Pair) -> str:
    """What would decide an undecided pair; a dash for the others."""
    if pair.verdict != "undecided" or analysis.test is None:
        return "-"
    seeds = min(len(analysis.rows[index].seeds) for index in (pair.first, pair.second))
    return str(pair.needed(len(analysis.test), seeds)).removesuffix(" would decide")


def pair_note(analysis: Analysis) -> str:
    """Explain the verdicts and the adjustment for the number of pairs."""
    pairs = analysis.pairs.values()
    margin = margin_text(next(iter(pairs)).margin)
    smallest = 100 * max(pair.smallest_difference for pair in pairs)
    means = any(len(row.seeds) > 1 for row in analysis.rows)
    return (
        f"Intervals and p-values are adjusted for {len(pairs)} pairwise comparisons (bootstrap: "
        "max-T, McNemar: Holm). apart: the interval excludes 0; equivalent: it lies within "
        f"{margin} of 0; undecided: neither. This test set shows true differences of "
        f"{smallest:.1f} points in every pair with 80 % probability."
        f"{' Counts of images are means over seeds, rounded.' if means else ''}"
    )


def confidence_set_text(analysis: Analysis) -> str:
    """Sentence that names the architectures that may be the most accurate; may be empty."""
    ranks = analysis.ranks
    if len(ranks) < 2:
        return ""
    names = [
        f"{analysis.rows[index].name} ({100 * rank.probability_best:.0f} %)"
        for index, rank in ranks.items()
        if rank.may_be_best
    ]
    return (
        f"95 % confidence set of the most accurate architecture: {', '.join(names)}; in brackets, "
        "the share of resampled test sets in which it is the most accurate."
    )


def sureness_columns(analysis: Analysis) -> tuple[str, ...]:
    """Columns of the table of metrics, uncertainty, calibration and confusions.

    Standard error and standard deviation are of the accuracy, in points.
    """
    return (
        "architecture",
        "rank, 95 % CI",
        "macro-F1, 95 % CI",
        *(metric.title for metric in _other_metrics(analysis)),
        "standard error (test-set sampling)",
        "standard deviation (seeds)",
        "calibration error (ECE), with temperature",
        "accuracy at 90 % coverage",
        "hardest classes",
        "most frequent confusions",
    )


def _other_metrics(analysis: Analysis) -> list[Metric]:
    """Metrics of any row that are not in the main table."""
    known = {name for row in analysis.rows for name in row.metrics}
    return [
        metric
        for name, metric in METRICS.items()
        if name in known and name not in ("accuracy", "macro_f1")
    ]


def sureness_cells(analysis: Analysis, digits: int = 2) -> list[list[str]]:
    """Cells of the table of metrics, uncertainty, calibration and confusions.

    `digits` are the decimals of percents.
    """
    metrics = _other_metrics(analysis)
    cells = []
    for index, (row, figures) in enumerate(zip(analysis.rows, analysis.statistics, strict=True)):
        if figures is None:
            continue
        f1, spread = figures.macro_f1, row.accuracy_deviation
        classes = [f"{result.label} ({result.f1:.2f})" for result in figures.per_class[:3]]
        pairs = [
            f"{pair.label} as {pair.predicted} ({max(pair.images, 1):.0f})"
            for pair in figures.hardest[:3]
        ]
        cells.append(
            [
                row.name,
                rank.text if (rank := analysis.ranks.get(index)) else "-",
                f"{f1.low:.{digits + 2}f} to {f1.high:.{digits + 2}f}" if f1 else "-",
                *(metric.text(row.metrics.get(metric.name), digits) for metric in metrics),
                f"{100 * figures.test_deviation:.2f}",
                "one seed" if spread is None else f"{100 * spread:.2f}",
                calibration_text(figures.calibration_error, figures.calibrated_error, digits),
                f"{100 * figures.accuracy_at_coverage:.{digits}f} %",
                ", ".join(classes),
                ", ".join(pairs),
            ]
        )
    return cells


def calibration_text(error: float, calibrated: float | None, digits: int = 2) -> str:
    """Calibration error in percent, before and after the temperature."""
    text = f"{100 * error:.{digits}f} %"
    return text if calibrated is None else f"{text}, {100 * calibrated:.{digits}f} %"


COST_COLUMNS = (
    "architecture",
    "MACs",
    *COMPARED,
    "flopth vs. fvcore",
    "verdict",
    "receptive field",
)


def cost_cells(row: Row) -> list[str]:
    """Cells of a row's costs, by counter."""
    cost = row.cost
    if cost is None:
        missing = ["-"] * (len(COST_COLUMNS) - 3)
        return [row.name, *missing, f"not counted: {row.cost_error}", "-"]
    return [
        row.name,
        Headline.of(cost).macs,
        *(giga(cost.counted_macs(name)) for name in COMPARED),
        relative_text(cost.relative_difference),
        cost.verdict,
        str(cost.receptive_field) if cost.receptive_field else "-",
    ]


def describe_data(data: DataSummary) -> str:
    """Describe the data in one line."""
    images = data.images
    left_out = sum(data.dropped.values())
    given = f" ({data.split_note})" if data.split_note else ""
    across = f"{data.groups_across_splits:,} of them across splits"
    groups = f"{data.groups:,} groups, {across}; " if data.groups else ""
    return (
        f"{data.title}; {len(data.classes)} classes, "
        f"{sum(images.values()):,} images: {images['train']:,} training, {images['valid']:,} "
        f"validation, {images['test']:,} test{given}; {left_out:,} excluded; "
        f"{groups}{data.exact_duplicate_groups} groups of exact duplicates, "
        f"{data.exact_duplicates_across_splits} of them across splits; "
        f"fingerprint {data.fingerprint}"
    )


def sizes(comparison: Comparison) -> tuple[int, ...]:
    """Image sizes of the runs in pixels, ascending."""
    return tuple(sorted({spec.image_size for spec in comparison.specs}))


def describe_protocol(
    image_sizes: Sequence[int],
    model: ModelSettings,
    train: TrainSettings,
    tuning: TuningSettings | None = None,
) -> str:
    """Describe the protocol in one line."""
    parts = [f"{_sides(image_sizes)} px"]
    if model.mode == "frozen":
        parts.append(f"frozen backbone, batch norm {model.batch_norm}")
        parts += ["standardized features"] if model.standardize_features else []
    else:
        parts.append("all parameters trained" + (" from scratch" * (model.mode == "scratch")))
    parts.append(
        f"{train.optimizer.upper()}, learning rate {train.learning_rate:g} ({train.schedule}), "
        + (f"momentum {train.momentum:g}, " if has_momentum(train) else "")
        + f"weight decay {train.weight_decay:g}"
    )
    parts += optimizer_words(train) + label_words(train)
    stop = f", early stopping with patience {train.patience}" if train.patience else ""
    parts.append(f"batch size {train.batch_size}, at most {train.epochs} epochs{stop}")
    augment = ["horizontal flip"] if train.augment.horizontal_flip else []
    augment += [f"crop with {train.augment.crop_padding} px"] if train.augment.crop_padding else []
    augment += augment_words(train.augment)
    parts.append(" and ".join(augment) or "no augmentation")
    parts += [tuning_words(tuning)] if tuning else []
    parts += [f"precision {model.precision}"] if model.precision != "float32" else []
    parts.append("test split evaluated once, at the epoch with the lowest validation loss")
    return "; ".join(parts)


def _sides(sizes: Sequence[int]) -> str:
    if len(sizes) == 1:
        return f"{sizes[0]} x {sizes[0]}"
    if len(sizes) <= MAX_SIZES:
        return f"squares of {', '.join(map(str, sizes[:-1]))} and {sizes[-1]}"
    return f"squares of {sizes[0]} to {sizes[-1]}"
