"""Next steps in a report: measured ways to improve the pick, sorted by effort."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from benchmark.report.deployed import fastest_usable, row_verdicts
from benchmark.report.learning_curves import longer_training
from benchmark.report.rows import Row
from benchmark.report.sections import TITLES, Section, SectionTable
from benchmark.report.tuned_settings import edge_note, expected_best
from benchmark.runs.deployments import HERE

if TYPE_CHECKING:
    from benchmark.report.analysis import Analysis

MAX_STEPS = 5
"""Maximum number of steps to show."""
MIN_TUNING_GAIN = 0.002
"""Gain in expected validation accuracy by the second half of the trials that supports more."""
TITLE = "What to do next"
COLUMNS = ("step", "gain (points)", "effort", "measured in")
"""The gain is in test accuracy unless the cell says otherwise."""


class Effort(IntEnum):
    """Kind of effort, the least first."""

    NONE = 0
    """Already available."""
    COMPUTE = 1
    """Another training, or a network with a higher cost."""
    CHECK = 2
    """People look at labels that exist."""
    LABEL = 3
    """People label new images."""


class Gain(NamedTuple):
    """Gain in test accuracy, 0 to 1, and the ends of its interval."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """The gain in points: `+0.8 (0.4 to 1.2)`."""
        value, low, high = (100 * share for share in self)
        return f"{value:+.1f} ({low:.1f} to {high:.1f})"


@dataclass(frozen=True)
class Step:
    """One way to improve the pick, which a measurement supports."""

    text: str
    gain: str
    """Expected gain in words."""
    effort: Effort
    effort_text: str
    section: str
    """Section of the report with the measurement, by its name on the page."""
    known: Gain | None = None
    """Expected gain in test accuracy; None if it was not measured."""
    units: float = 1.0
    """Amount of effort, to compare gains: new labels, or computation as a multiple of today's."""

    @property
    def order(self) -> tuple[int, float]:
        """Sort key of a step: effort, then gain per unit of effort, descending."""
        return self.effort, -(self.known.value / self.units) if self.known else 0.0


def section(analysis: Analysis) -> Section | None:
    """Next steps for the pick, and what has not been measured; None without a pick."""
    if analysis.pick is None:
        return None
    row = analysis.pick.chosen or analysis.rows[0]
    steps = next_steps(analysis, row)
    cells = [[it.text, it.gain, it.effort_text, TITLES[it.section]] for it in steps]
    lead = f"Measured ways to improve {row.name}, sorted by effort."
    if not steps:
        lead = f"No measurement supports a way to improve {row.name}."
    links = [step.section for step in steps]
    tables = [SectionTable(TITLE, COLUMNS, cells, links=links)] if steps else []
    values = [
        {
            "step": step.text,
            "gain": step.known._asdict() if step.known else step.gain,
            "effort": step.effort_text,
            "measured_in": step.section,
        }
        for step in steps
    ]
    return Section(f"{lead} {_not_measured(analysis, row)}".rstrip(), tables, values=values)


def next_steps(analysis: Analysis, row: Row) -> list[Step]:
    """At most MAX_STEPS steps for a row, in order."""
    steps = [step for find in _FINDERS for step in find(analysis, row)]
    return sorted(steps, key=lambda step: step.order)[:MAX_STEPS]


def _deploy(analysis: Analysis, row: Row) -> Iterator[Step]:
    """The fastest variant on the target, or on the first device, if it is as accurate."""
    verdicts = row_verdicts(analysis, analysis.rows.index(row))
    devices = sorted({verdict.item.timing.device.name for verdict in verdicts})
    if not devices:
        return
    device = row.target or (HERE if HERE in devices else devices[0])
    best = fastest_usable(verdicts, device)
    if best is None or best.base is None or best.speed != "faster" or best.item.accuracy is None:
        return
    item, base = best.item, best.base
    gain = Gain(best.item.accuracy.difference, best.item.accuracy.low, best.item.accuracy.high)
    ratio = base.timing.latency_ms_median / item.timing.latency_ms_median
    yield Step(
        f"Deploy {item.artifact.title}" + (f" on {device}" if device != HERE else ""),
        f"{ratio:.1f}x faster than {base.artifact.title}, "
        + ("same predictions" if best.accuracy == "same" else f"accuracy {gain.text}"),
        Effort.NONE,
        f"none: {item.artifact.variant} is built",
        "deployed",
        gain,
    )


def _enlarge_images(analysis: Analysis, row: Row) -> Iterator[Step]:
    """The same network at a larger image size, if that is more accurate."""
    index = analysis.rows.index(row)
    for other, larger in enumerate(analysis.rows):
        pair = analysis.pairs.get((other, index))  # the more accurate one is first
        same = (larger.architecture, larger.hidden) == (row.architecture, row.hidden)
        if pair is None or not same or larger.image_size <= row.image_size:
            continue
        if pair.verdict != "apart" or not row.macs or not larger.macs:
            continue
        gain = Gain(pair.difference, pair.interval.low, pair.interval.high)
        ratio = larger.macs / row.macs
        yield Step(
            f"Use images of {larger.image_size} px instead of {row.image_size}",
            gain.text,
            Effort.COMPUTE,
            f"{ratio:.1f}x the MACs",
            "pairs",
            gain,
            ratio,
        )


def _train_longer(_: Analysis, row: Row) -> Iterator[Step]:
    """More epochs, if the validation loss of every seed still fell."""
    trends = [longer_training(record) for record in row.records]
    if all(one.helps for one in trends):
        yield Step(
            f"Train for more than {row.records[0].spec.train.epochs} epochs",
            f"unknown; validation {trends[0].change}",
            Effort.COMPUTE,
            "a longer training",
            "curves",
        )


def _tune_more(_: Analysis, row: Row) -> Iterator[Step]:
    """More trials, or a wider space, if the last trials still gained."""
    means = expected_best(row)
    half = len(means) // 2
    gain = means[-1] - means[half - 1] if half else 0.0
    edges = [note for record in row.records for note in edge_note(record)]
    if gain >= MIN_TUNING_GAIN:
        text = f"Tune with more than {len(means)} trials"
        evidence = f"unknown; the last {len(means) - half} trials gained {100 * gain:+.1f}"
        yield Step(text, f"{evidence} on validation", Effort.COMPUTE, "more trials", "tuning")
    elif edges:
        text = "Tune in a wider space"
        where = edges[0].partition(";")[0]
        yield Step(text, f"unknown; {where}", Effort.COMPUTE, "more trials", "tuning")


def _check_labels(analysis: Analysis, _: Row) -> Iterator[Step]:
    """Suspected label errors, if an audit found some."""
    if analysis.without is None or not analysis.without.audit.suspects:
        return
    suspects, on_test = analysis.without.audit.suspects, len(analysis.without.suspected)
    yield Step(
        f"Check the {len(suspects):,} suspected labels",
        f"unknown; {on_test:,} of them are of test images",
        Effort.CHECK,
        f"{len(suspects):,} labels to check",
        "suspects",
    )


def _add_images(analysis: Analysis, row: Row) -> Iterator[Step]:
    """Twice the training images, if the learning curve says that they help."""
    curve = analysis.curves.of(row.name)
    if curve is None or curve.refusal:
        return
    gain, added = Gain(*curve.gain), curve.twice.images - curve.sizes[-1].images
    if gain.low > 0:
        text = f"Label {added:,} more training images"
        effort = f"{added:,} labels"
        yield Step(text, gain.text, Effort.LABEL, effort, "training_images", gain, added)


def _add_images_of_slice(analysis: Analysis, row: Row) -> Iterator[Step]:
    """The weak slice that costs the row the most correct predictions."""
    slices, test = analysis.slices, analysis.test
    if slices is None or test is None:
        return
    index = analysis.rows.index(row)
    weak = {
        (item_.column, item_.value): item_.images * (one.rest - one.accuracy) / len(test)
        for item_ in slices.weakest
        if (one := item_.weak.get(index)) is not None
    }
    if weak:
        (column, value), lost = max(weak.items(), key=lambda item: item[1])
        yield Step(
            f"Label more training images of {column} {value}",
            f"at most {100 * lost:+.1f}, if it became as accurate as the others",
            Effort.LABEL,
            "new images and labels",
            "slices",
        )


_FINDERS: tuple[Callable[[Analysis, Row], Iterator[Step]], ...] = (
    _deploy,
    _enlarge_images,
    _train_longer,
    _tune_more,
    _check_labels,
    _add_images,
    _add_images_of_slice,
)


def _not_measured(analysis: Analysis, row: Row) -> str:
    """Measurements that are missing, with their commands; empty if there are none."""
    missing = {
        "runtimes and int8 (bench deploy)": not row_verdicts(analysis, analysis.rows.index(row)),
        "other image sizes (data.image_size)": not row.sizes_differ,
        "tuned settings (--tune)": not expected_best(row),
        "wrong labels (bench data audit)": analysis.without is None,
        "more images (bench curve)": analysis.curves.of(row.name) is None,
        "weak slices (--by)": analysis.slices is None,
    }
    names = [name for name, is_missing in missing.items() if is_missing]
    return f"Not measured: {', '.join(names)}." if names else ""
