"""Learning curves in a report: the effect of more training images and of more epochs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.errors import ReportError
from benchmark.report.power_law import (
    REPLICAS,
    CurveData,
    Extrapolation,
    extrapolate,
    find_fall,
    quantiles,
    resampled_errors,
)
from benchmark.report.predictions import read_test_set
from benchmark.report.rows import Row
from benchmark.report.sections import Section, SectionChart, SectionTable
from benchmark.report.statistics import Resampling
from benchmark.runs.curve_results import SHARES, CurveFile, LearningCurve
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder
from benchmark.text.numbers import inline, markdown_table
from clothclf.csv_text import csv_text

if TYPE_CHECKING:
    from benchmark.report.analysis import Analysis

TITLE = "Accuracy by the number of training images"
LEAD = "The same recipe on fewer images, extrapolated to twice as many."
CHART = SectionChart(
    "training-images",
    TITLE,
    "one point per training; fitted power laws with 90 % bands, to twice the images",
    "benchmark.report.charts.learning_curves",
)
MAX_MISS = 0.01
"""Difference between predicted and measured accuracy up to which a back-test holds anyway."""
SURE = 0.99
"""Level of the band outside of which a back-test fails; one in ten curves leaves a 90 % band."""
MORE = 2
"""Multiple of the training images for which a forecast is made."""
FALLS = 0.01
"""Relative fall of the lowest validation loss in the last third of the epochs that counts."""
COLUMNS = (
    "architecture",
    "training images",
    *(f"1/{1 / share:.0f}" for share in SHARES[:-1]),
    "all",
    "all, predicted from half",
    "gain from twice the images (points)",
)
"""Test accuracies; of fewer images, means over draws. Bands are at 90 %."""


@dataclass(frozen=True)
class Size:
    """Test accuracy of one number of training images."""

    images: int
    accuracy: float
    """Mean over draws."""
    draws: tuple[float, ...]


@dataclass(frozen=True)
class Forecast:
    """A predicted accuracy, 0 to 1, with its 90 % band."""

    images: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class RowCurve:
    """Learning curve of one row, of its first run that has one."""

    row: str
    record: RunRecord
    sizes: tuple[Size, ...]
    """Ascending; the last one is the run itself."""
    back_test: Forecast
    """The run itself, predicted from at most half of its images."""
    refusal: str
    """Why no forecast is made; empty if the curve can be extrapolated."""
    twice: Forecast
    """Accuracy with twice the images; meaningless with a `refusal`, as is `gain`."""
    gain: tuple[float, float, float]
    """Gain from twice the images, 0 to 1, and the ends of its band."""
    fit: Extrapolation

    @property
    def sentence(self) -> str:
        """Sentence with back-test and forecast, or why there is none."""
        test, measured = self.back_test, self.sizes[-1].accuracy
        text = (
            f"{self.row}: from half of the images: {_percent(test.accuracy)} % predicted "
            f"({_band(test.low, test.high)}), {_percent(measured)} % measured"
        )
        if self.refusal:
            return f"{text}. No forecast: {self.refusal}."
        gain, low, high = (100 * value for value in self.gain)
        return (
            f"{text}. Twice the images, {self.twice.images:,}, would bring {gain:+.1f} points "
            f"({low:.1f} to {high:.1f})."
        )

    def metrics(self) -> dict[str, float]:
        """Unrounded figures by name, for CSV, JSON and MLflow."""
        figures = {
            "predicted_from_half": self.back_test.accuracy,
            "predicted_from_half_low": self.back_test.low,
            "predicted_from_half_high": self.back_test.high,
        }
        if self.refusal:
            return figures
        names = ("gain_at_twice", "gain_at_twice_low", "gain_at_twice_high")
        return figures | dict(zip(names, self.gain, strict=True))


@dataclass(frozen=True)
class CurveSection:
    """Learning curves of a comparison."""

    curves: tuple[RowCurve, ...]
    notes: tuple[str, ...]
    """Curves that are damaged or unfinished."""

    @property
    def sentences(self) -> list[str]:
        """Sentences on the gain from more images and epochs, and on the winner."""
        winner = winner_sentence(self.curves)
        return [
            *(curve.sentence for curve in self.curves),
            *([winner] if winner else []),
            *(epochs_sentence(curve.row, curve.record) for curve in self.curves),
            *self.notes,
        ]

    def of(self, row: str) -> RowCurve | None:
        """Return the curve of a row, if it has one."""
        return next((curve for curve in self.curves if curve.row == row), None)


def curve_section(rows: Sequence[Row], root: Path) -> CurveSection:
    """Read the learning curves of rows whose runs are below the tracking folder `root`."""
    curves, notes = [], []
    for row in rows:
        for record in row.records:
            folder = RunFolder.of(root, record.spec).path
            file = CurveFile(folder, record.run_id)
            if not file.path.exists():
                continue
            stored = file.read()
            if stored is None:
                notes.append(f"{row.name}: {file.path} is damaged; `bench curve` measures it again")
            elif stored.missing():
                notes.append(f"{row.name}: its learning curve is unfinished; `bench curve` resumes")
            else:
                try:
                    curves.append(_row_curve(row.name, record, stored, folder))
                except ReportError as error:
                    notes.append(f"{row.name}: no learning curve: {error}")
            break
    return CurveSection(tuple(curves), tuple(notes))


def _row_curve(name: str, record: RunRecord, stored: LearningCurve, folder: Path) -> RowCurve:
    test = read_test_set(folder, record)
    if len(test) != stored.test_images:
        raise ReportError(f"{folder}: its curve has other test images; `bench run` repeats the run")
    groups: list[list[int]] = [[], [], [], [], []]
    hits: list[list[np.ndarray]] = [[], [], [], [], []]
    for point in stored.points:
        index = SHARES.index(point.share)
        groups[index].append(point.images)
        hits[index].append(point.hits(stored.test_images))
    data = CurveData(
        np.array([np.mean(images) for images in groups]), [np.stack(own, axis=1) for own in hits]
    )
    sizes = tuple(
        Size(round(float(images)), float(own.mean()), tuple(own.mean(axis=0).tolist()))
        for images, own in zip(data.images, data.hits, strict=True)
    )
    return judge(name, record, data, sizes, Resampling(test.groups, REPLICAS))


def judge(
    name: str,
    record: RunRecord,
    data: CurveData,
    sizes: tuple[Size, ...],
    resampling: Resampling,
) -> RowCurve:
    """Fit, back-test and extrapolate the curve of a row."""
    whole, measured = sizes[-1].images, sizes[-1].accuracy
    resampled = resampled_errors(data, resampling)
    half = extrapolate(data.without_largest(), resampled[:, :-1])
    low, high = half.band(whole, same_test=True)
    lowest, largest = half.band(whole, same_test=True, level=SURE)
    back_test = Forecast(whole, 1 - half.error(whole), 1 - high, 1 - low)
    fit = extrapolate(data, resampled)
    low, high = fit.band(MORE * whole)
    twice = Forecast(MORE * whole, 1 - fit.error(MORE * whole), 1 - high, 1 - low)
    gain = fit.error(whole) - fit.error(MORE * whole)
    ends = quantiles(fit.gains(MORE * whole))
    refusal = ""
    if fall := find_fall(data, resampled):
        refusal = (
            f"accuracy falls from {_percent(sizes[fall[0]].accuracy)} % with "
            f"{sizes[fall[0]].images:,} images to {_percent(sizes[fall[1]].accuracy)} % with "
            f"{sizes[fall[1]].images:,}, which is beyond noise"
        )
    elif abs(back_test.accuracy - measured) > MAX_MISS and not lowest <= 1 - measured <= largest:
        refusal = (
            f"the back-test is {100 * abs(back_test.accuracy - measured):.1f} points off, so the "
            "curve does not follow a power law"
        )
    return RowCurve(name, record, sizes, back_test, refusal, twice, (gain, *ends), fit)


def winner_sentence(curves: Sequence[RowCurve]) -> str:
    """Whether another architecture would be the most accurate with twice the images."""
    if len(curves) < 2:
        return ""
    known = [curve for curve in curves if not curve.refusal]
    now = max(curves, key=lambda curve: curve.sizes[-1].accuracy)
    if now not in known or len(known) < 2:
        return "Whether twice the images would change the most accurate architecture is unknown."
    others = [curve for curve in known if curve is not now]
    rival = max(others, key=lambda curve: curve.twice.accuracy)
    lead = now.twice.accuracy - rival.twice.accuracy
    low, high = quantiles(_at_twice(rival) - _at_twice(now))
    figures = f"difference {100 * lead:+.1f} points, {100 * low:.1f} to {100 * high:.1f}"
    if low > 0:
        return f"With twice the images, {now.row} stays ahead of {rival.row} ({figures})."
    if high < 0:
        return f"With twice the images, {rival.row} would overtake {now.row} ({figures})."
    return (
        f"Whether {now.row} stays ahead of {rival.row} with twice the images is undecided "
        f"({figures})."
    )


def _at_twice(curve: RowCurve) -> np.ndarray:
    """Error with twice the images [replicas], on resampled test images."""
    return curve.fit.laws.errors(curve.twice.images) + curve.fit.test_shift


@dataclass(frozen=True)
class LongerTraining:
    """Whether the last third of a run's epochs supports longer training, and why."""

    helps: bool
    change: str
    """Best validation loss and accuracy before the last third, and in it; or why none is known."""


def longer_training(record: RunRecord) -> LongerTraining:
    """Compare the last third of the epochs with those before."""
    training, planned = record.training, record.spec.train.epochs
    epochs = training.epochs
    third = max(1, len(epochs) // 3)
    if training.stopped_early:
        ended = f"early stopping ended it after {len(epochs)} of {planned} epochs"
        return LongerTraining(False, ended)
    if len(epochs) <= third:
        return LongerTraining(False, f"{len(epochs)} epochs are too few")
    before = min(epochs[:-third], key=lambda epoch: epoch.valid_loss)
    last = min(epochs[-third:], key=lambda epoch: epoch.valid_loss)
    images = record.spec.data_summary.images["valid"]
    error = math.sqrt(2 * last.valid_accuracy * (1 - last.valid_accuracy) / images)
    rise = last.valid_accuracy - before.valid_accuracy
    helps = last.valid_loss < (1 - FALLS) * before.valid_loss or rise > error > 0
    change = (
        f"before the last {third} of {len(epochs)} epochs, validation loss was lowest at "
        f"{before.valid_loss:.3f} ({_percent(before.valid_accuracy)} % accuracy), in them at "
        f"{last.valid_loss:.3f} ({_percent(last.valid_accuracy)} %)"
    )
    return LongerTraining(helps, change)


def epochs_sentence(name: str, record: RunRecord) -> str:
    """Whether longer training would help."""
    trend = longer_training(record)
    verdict = "may help" if trend.helps else "is not supported"
    return f"{name}: longer training {verdict}: {trend.change}."


def section(analysis: Analysis) -> Section | None:
    """Curves of all rows that have one; None without `bench curve`."""
    curves = analysis.curves
    if not curves.curves:
        return Section(" ".join(curves.notes)) if curves.notes else None
    table = SectionTable(TITLE, COLUMNS, cells(curves), curves.sentences)
    values = {"winner": winner_sentence(curves.curves), "notes": list(curves.notes)} | {
        "curves": {curve.row: nested(curve) for curve in curves.curves}
    }
    return Section(LEAD, [table], [CHART], for_papers=True, values=values)


def cells(section: CurveSection) -> list[list[str]]:
    """Cells of the table, one line for each curve."""
    rows = []
    for curve in section.curves:
        test = curve.back_test
        gain, low, high = (100 * value for value in curve.gain)
        rows.append(
            [
                curve.row,
                f"{curve.sizes[-1].images:,}",
                *(f"{_percent(size.accuracy)} %" for size in curve.sizes),
                f"{_percent(test.accuracy)} % ({_band(test.low, test.high)})",
                "refused" if curve.refusal else f"{gain:+.1f} ({low:.1f} to {high:.1f})",
            ]
        )
    return rows


def flat(analysis: Analysis, index: int) -> dict[str, object]:
    """Unrounded figures of a row; empty without a curve."""
    curve = analysis.curves.of(analysis.rows[index].name)
    if curve is None:
        return {}
    values: dict[str, object] = {f"curve_{name}": value for name, value in curve.metrics().items()}
    return {**values, "curve_refused": curve.refusal}


def nested(curve: RowCurve) -> dict[str, object]:
    """Unrounded figures of a row with its points, for JSON."""
    law = curve.fit.central
    scale = float(law.a[0]) * law.unit ** float(law.b[0])
    return {
        "points": [
            {"images": size.images, "accuracy": size.accuracy, "draws": list(size.draws)}
            for size in curve.sizes
        ],
        "law": {"a": scale, "b": float(law.b[0]), "c": float(law.c[0])},
        **curve.metrics(),
        "refused": curve.refusal,
        "sentence": curve.sentence,
        "epochs": epochs_sentence(curve.row, curve.record),
    }


def as_markdown(section: CurveSection) -> str:
    """Render as Markdown."""
    return "\n\n".join([f"# {TITLE}", *markdown_parts(section)]) + "\n"


def markdown_parts(section: CurveSection) -> list[str]:
    """Table and sentences; no table without curves."""
    lines = "\n".join(f"- {inline(line)}" for line in section.sentences)
    return [markdown_table(cells(section), COLUMNS), lines] if section.curves else [lines]


def as_json(section: CurveSection) -> str:
    """Render as JSON with unrounded values."""
    curves = [
        {"run_id": curve.record.run_id, "name": curve.row, **nested(curve)}
        for curve in section.curves
    ]
    values = {
        "curves": curves,
        "winner": winner_sentence(section.curves),
        "notes": list(section.notes),
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def as_csv(section: CurveSection) -> str:
    """Render one line for each training."""
    columns = ["architecture", "training_images", "draw", "test_accuracy"]
    lines = [
        [curve.row, size.images, draw, accuracy]
        for curve in section.curves
        for size in curve.sizes
        for draw, accuracy in enumerate(size.draws)
    ]
    return csv_text(columns, lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _band(low: float, high: float) -> str:
    return f"{_percent(low)} to {_percent(high)}"
