"""Tuning in a report: chosen settings, their gain, and whether the order changed."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from benchmark.report.rows import Row
from benchmark.report.sections import Section, SectionChart, SectionTable
from benchmark.runs.record import RunRecord
from benchmark.text.recipe_text import settings_text
from clothclf.results import Trial, TuningResult
from clothclf.settings import RangeSettings

if TYPE_CHECKING:
    from benchmark.report.analysis import Analysis

COLUMNS = ("architecture", "seed", "chosen settings", "gain (points)", "trials", "time")
"""The gain is the validation accuracy of the chosen trial less that of the study's settings."""
MAX_NAMES = 8
"""Maximum number of architectures in a sentence."""
EDGE = 0.1
"""Share of a range at either end that counts as its edge."""


CHART = SectionChart(
    "tuning",
    "Expected best validation accuracy of k trials",
    "trials of a run, drawn at random; mean over seeds",
    "benchmark.report.charts.trials",
)


def section(analysis: Analysis) -> Section | None:
    """Chosen settings of all tuned runs, and the chart of their trials; None without tuning."""
    cells = _cells(analysis.rows)
    if not cells:
        return None
    return Section(sentence(analysis.rows), [SectionTable("Tuning", COLUMNS, cells)], [CHART])


def _cells(rows: Sequence[Row]) -> list[list[str]]:
    return [
        [
            row.name,
            str(record.spec.seed),
            settings_text(result),
            "-" if result.gain is None else f"{100 * result.gain:+.2f}",
            _rungs_text(result),
            f"{result.seconds:.0f} s",
        ]
        for row in rows
        for record, result in _tuned(row)
    ]


def flat(analysis: Analysis, index: int) -> dict[str, object]:
    """Unrounded values of a row; empty without tuning."""
    results = [result for _, result in _tuned(analysis.rows[index])]
    if not results:
        return {}
    gains = [result.gain for result in results if result.gain is not None]
    return {
        "tuned_settings": "; ".join(dict.fromkeys(map(settings_text, results))),
        "tuning_gain": statistics.fmean(gains) if gains else None,
        "tuning_s": statistics.fmean(result.seconds for result in results),
    }


def sentence(rows: Sequence[Row]) -> str:
    """State whether tuning changed the order of architectures, by validation accuracy."""
    own = _order(rows, lambda result: _first_accuracy(result.trials[0]))
    best = _order(rows, _best_accuracy)
    if len(own) < 2:
        return "Tuning cannot change the order of a single architecture."
    if own == best:
        return (
            f"Tuning did not change the order: {_listed(best)}, by validation accuracy of the "
            "first trials, with the study's settings as with the best ones."
        )
    return (
        f"Tuning changed the order: {_listed(own)} with the study's settings, {_listed(best)} with "
        "the best settings of each, by validation accuracy of the first trials."
    )


def expected_best(row: Row) -> list[float]:
    """Expected best validation accuracy of 1 to n trials of a row, 0 to 1, mean over seeds.

    The trials of the first rung, which have equal epochs, are drawn at random with replacement
    (Dodge et al. 2019, arXiv:1909.03004); failed ones count as 0. Empty without tuning.
    """
    curves = [list(_expected([*map(_first_accuracy, it.trials)])) for _, it in _tuned(row)]
    return [statistics.fmean(values) for values in zip(*curves, strict=False)]


def edge_note(record: RunRecord) -> list[str]:
    """Note that the chosen learning rate is at the edge of the tuned space; empty otherwise."""
    result, tuning = record.training.tuning, record.spec.tuning
    if result is None or tuning is None or "learning_rate" not in tuning.space:
        return []
    values, chosen = tuning.space["learning_rate"], result.best.settings["learning_rate"]
    if isinstance(values, RangeSettings):
        index = values.share(float(chosen or 0))
        low, high = index < EDGE, index > 1 - EDGE
    else:
        low, high = chosen == min(map(_number, values)), chosen == max(map(_number, values))
    if not low and not high:
        return []
    where, change = ("lower", "lower") if low else ("upper", "higher")
    return [
        f"the chosen learning rate is at the {where} edge of the tuned space; also try {change} "
        "values in tuning.space.learning_rate"
    ]


def budget_text(record: RunRecord) -> str:
    """Describe the tuning budget of a run: `9 trials of 36 epochs in total`; empty if none."""
    result = record.training.tuning
    if result is None:
        return ""
    lengths = [rung.epochs for trial in result.trials for rung in trial.rungs]
    return f"{len(lengths)} trials of {sum(lengths)} epochs in total"


def _tuned(row: Row) -> Iterator[tuple[RunRecord, TuningResult]]:
    for record in row.records:
        if record.training.tuning is not None:
            yield record, record.training.tuning


def _rungs_text(result: TuningResult) -> str:
    """Trials of each rung: `6 x 3, 3 x 6 epochs`."""
    sizes = Counter(rung.epochs for trial in result.trials for rung in trial.rungs)
    return ", ".join(f"{count} x {epochs}" for epochs, count in sorted(sizes.items())) + " epochs"


def _first_accuracy(trial: Trial) -> float:
    return trial.rungs[0].valid_accuracy or 0.0


def _best_accuracy(result: TuningResult) -> float:
    return max(map(_first_accuracy, result.trials))


def _order(rows: Sequence[Row], figure: Callable[[TuningResult], float]) -> list[str]:
    """Names of tuned rows by a figure, highest first; mean over seeds."""
    means = {
        row.name: statistics.fmean(figure(result) for _, result in tuned)
        for row in rows
        if (tuned := list(_tuned(row)))
    }
    return sorted(means, key=lambda name: (-means[name], name))


def _listed(names: Sequence[str]) -> str:
    return " > ".join([*names[:MAX_NAMES], *(["…"] if len(names) > MAX_NAMES else [])])


def _expected(values: Sequence[float]) -> Iterator[float]:
    order, count = sorted(values), len(values)
    for k in range(1, count + 1):
        yield sum(
            value * ((index / count) ** k - ((index - 1) / count) ** k)
            for index, value in enumerate(order, 1)
        )


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
