"""Deployed variants in a report: verdicts, table cells, and the section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmark.report.pairs import MARGIN, verdict_of
from benchmark.report.pick import margin_text
from benchmark.report.rows import Row
from benchmark.report.sections import Section, SectionTable
from benchmark.report.statistics import Interval
from benchmark.runs.deployments import Deployed, Deployments, Device
from benchmark.runs.run_folder import RunFolder
from benchmark.text.numbers import mebibytes

if TYPE_CHECKING:
    from benchmark.report.analysis import Analysis

COLUMNS = (
    "variant",
    "accuracy",
    "vs. float32 (points)",
    "macro-F1",
    "calibration error",
    "latency, median",
    "95 % CI",
    "p95",
    "from file",
    "best throughput",
    "load time",
    "memory",
    "file size",
    "verdict",
)
"""Latency is of one decoded image; *from file* includes decoding and resizing."""
SAME = 1.05
"""Latencies whose ratio is below this are the same in a sentence."""
SMALLER = 0.7
"""Ratio of file sizes from which on a file is clearly smaller."""

Speed = Literal["faster", "slower", "as fast", "unknown"]


@dataclass(frozen=True)
class VariantVerdict:
    """Verdict on one variant on one device."""

    item: Deployed
    accuracy: str
    """`same`, `equivalent`, `better`, `worse`, `undecided`, `unusable` or `unknown`."""
    speed: Speed
    """Compared with its base."""
    sentence: str
    base: Deployed | None
    """Variant that it is compared with; None for the run's own float32."""

    @property
    def usable(self) -> bool:
        """Whether it can replace the run without a loss of accuracy."""
        return self.accuracy in ("same", "equivalent", "better")


def judge(items: Sequence[Deployed], margin: float = MARGIN) -> list[VariantVerdict]:
    """Judge the variants of one run; `margin` is that of equivalence, 0 to 1."""
    known = {(item.timing.device.name, item.artifact.variant): item for item in items}
    verdicts = []
    for item in items:
        base = known.get((item.timing.device.name, item.artifact.base))
        if base is item:
            base = None
        verdicts.append(_judge_one(item, base, margin))
    return verdicts


def _judge_one(item: Deployed, base: Deployed | None, margin: float) -> VariantVerdict:
    accuracy, accuracy_words = _accuracy(item, margin)
    speed, speed_words = _speed(item, base)
    title = item.artifact.title
    if accuracy == "unusable":
        problem = item.accuracy.problem if item.accuracy else ""
        sentence = f"{title} must not be used: {problem}."
    elif base is None and item.artifact.variant == item.artifact.base:
        sentence = f"{title} is the run's own float32, {_own(item)}."
    else:
        second = accuracy_words.removeprefix("is ") if speed_words else accuracy_words
        words = " and ".join(part for part in (speed_words, second) if part)
        sentence = f"{title} {words}{_advice(item, base, accuracy, speed)}."
    note = f" Note: {item.timing.note}." if item.timing.note else ""
    sentence = sentence[:1].upper() + sentence[1:] + note
    return VariantVerdict(item, accuracy, speed, sentence, base)


def _own(item: Deployed) -> str:
    accuracy = item.accuracy
    return (
        "of unknown test accuracy"
        if accuracy is None
        else f"{100 * accuracy.accuracy:.2f} % on test"
    )


def _accuracy(item: Deployed, margin: float) -> tuple[str, str]:
    """Accuracy compared with float32, as a word and as part of a sentence."""
    measured = item.accuracy
    if measured is None:
        return "unknown", "is of unknown test accuracy"
    if measured.problem:
        return "unusable", ""
    if measured.other_class == 0 and measured.difference == 0:
        return "same", f"predicts the same classes ({100 * measured.accuracy:.2f} %)"
    points = 100 * measured.difference
    interval = f"95 % CI {100 * measured.low:+.2f} to {100 * measured.high:+.2f}"
    verdict = verdict_of(Interval(measured.low, measured.high), margin)
    if verdict == "equivalent":
        return verdict, f"is equivalent within {margin_text(margin)} ({points:+.2f}, {interval})"
    if verdict == "apart":
        words = f"is {abs(points):.2f} points {'more' if points > 0 else 'less'} accurate"
        return ("better" if points > 0 else "worse"), f"{words} ({interval})"
    return "undecided", f"is of undecided accuracy ({points:+.2f} points, {interval})"


def _speed(item: Deployed, base: Deployed | None) -> tuple[Speed, str]:
    """Latency compared with the base, as a word and as part of a sentence."""
    if base is None:
        return "unknown", ""
    if not _alike(item.timing.device, base.timing.device):
        return "unknown", ""
    if item.timing.busy or base.timing.busy:
        return "unknown", "is of unknown speed (the machine was busy)"
    ours, theirs = item.timing.latency_ms_median, base.timing.latency_ms_median
    title = base.artifact.title
    if max(ours, theirs) < SAME * min(ours, theirs) or _overlap(item, base):
        return "as fast", f"is as fast as {title}"
    if ours < theirs:
        return "faster", f"is {theirs / ours:.1f}x faster than {title}"
    return "slower", f"is {ours / theirs:.1f}x slower than {title}"


def _alike(one: Device, other: Device) -> bool:
    return (one.processor, one.threads) == (other.processor, other.threads)


def _overlap(one: Deployed, other: Deployed) -> bool:
    """Whether the intervals of two medians overlap."""
    first, second = one.timing.latency_ms_interval, other.timing.latency_ms_interval
    if first is None or second is None:
        return False
    return first[0] <= second[1] and second[0] <= first[1]


def _advice(item: Deployed, base: Deployed | None, accuracy: str, speed: Speed) -> str:
    """Recommendation as the end of a sentence; may be empty."""
    if base is None or speed == "unknown" or accuracy == "unknown":
        return ""
    keep = f": keep {'float32' if item.artifact.precision != 'float32' else base.artifact.title}"
    smaller = item.artifact.size_bytes <= SMALLER * base.artifact.size_bytes
    size = f"{base.artifact.size_bytes / item.artifact.size_bytes:.1f}x smaller file"
    if accuracy in ("same", "equivalent", "better"):
        if speed == "faster":
            return ": use it"
        return f"{keep}, unless its {size} matters" if smaller else keep
    if speed == "faster":
        return ": use it only if the speed is worth that"
    return keep


def cells(verdict: VariantVerdict) -> list[str]:
    """Cells of one variant."""
    artifact, timing, accuracy = verdict.item.artifact, verdict.item.timing, verdict.item.accuracy
    interval = timing.latency_ms_interval
    encoded = timing.encoded_ms_median
    return [
        artifact.variant,
        "-" if accuracy is None else f"{100 * accuracy.accuracy:.2f} %",
        _points_cell(verdict),
        "-" if accuracy is None else f"{accuracy.macro_f1:.4f}",
        "-" if accuracy is None else f"{100 * accuracy.calibration_error:.2f} %",
        f"{timing.latency_ms_median:.2f} ms{' (busy)' * bool(timing.busy)}",
        "-" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}",
        f"{timing.latency_ms_p95:.2f} ms",
        "-" if encoded is None else f"{encoded:.2f} ms",
        f"{timing.images_per_second:.0f} images/s at batch {timing.best_batch}",
        f"{timing.load_s:.2f} s",
        "-" if timing.memory_bytes is None else mebibytes(timing.memory_bytes),
        f"{artifact.size_bytes / 2**20:.2f} MiB",
        _short(verdict),
    ]


def _points_cell(verdict: VariantVerdict) -> str:
    accuracy = verdict.item.accuracy
    if accuracy is None or verdict.item.artifact.variant == verdict.item.artifact.base:
        return "-"
    if verdict.accuracy == "same":
        return "same predictions"
    interval = f"{100 * accuracy.low:+.2f} to {100 * accuracy.high:+.2f}"
    return f"{100 * accuracy.difference:+.2f} ({interval})"


def _short(verdict: VariantVerdict) -> str:
    if verdict.accuracy == "unusable":
        return "do not use"
    if verdict.speed == "unknown":
        return verdict.accuracy
    return f"{verdict.accuracy}, {verdict.speed}"


def variant_values(verdict: VariantVerdict) -> dict[str, Any]:
    """Unrounded values of one variant on one device."""
    artifact, timing, accuracy = verdict.item.artifact, verdict.item.timing, verdict.item.accuracy
    interval = timing.latency_ms_interval or (None, None)
    return {
        "variant": artifact.variant,
        "device": timing.device.name,
        "processor": timing.device.processor,
        "threads": timing.device.threads,
        "runtime": timing.runtime,
        "precision": artifact.precision,
        "artifact": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "accuracy": accuracy and accuracy.accuracy,
        "difference": accuracy and accuracy.difference,
        "difference_low": accuracy and accuracy.low,
        "difference_high": accuracy and accuracy.high,
        "mcnemar_p": accuracy and accuracy.mcnemar_p,
        "other_class": accuracy and accuracy.other_class,
        "macro_f1": accuracy and accuracy.macro_f1,
        "calibration_error": accuracy and accuracy.calibration_error,
        "latency_ms_median": timing.latency_ms_median,
        "latency_ms_low": interval[0],
        "latency_ms_high": interval[1],
        "latency_ms_p95": timing.latency_ms_p95,
        "encoded_ms_median": timing.encoded_ms_median,
        "encoded_image": timing.encoded_image,
        "best_batch": timing.best_batch,
        "images_per_second": timing.images_per_second,
        "load_s": timing.load_s,
        "memory_bytes": timing.memory_bytes,
        "busy": timing.busy,
        "verdict": verdict.accuracy,
        "speed": verdict.speed,
        "sentence": verdict.sentence,
    }


def device_text(device: Device) -> str:
    """Name, processor and threads of a device."""
    threads = f"{device.threads} thread{'s' * (device.threads != 1)}"
    return f"{device.name} ({device.processor}, {threads})"


@dataclass(frozen=True)
class RowVariants:
    """Deployed variants of one row, of its first run that has some."""

    row: str
    """Name of the row."""
    verdicts: tuple[VariantVerdict, ...]


def row_variants(
    rows: Sequence[Row], root: Path, margin: float = MARGIN
) -> tuple[RowVariants, ...]:
    """Read the deployed variants of rows whose runs are below the tracking folder `root`."""
    variants = []
    for row in rows:
        for record in row.records:
            items = Deployments(RunFolder.of(root, record.spec).path).all()
            own = [item for item in items if item.artifact.run_id == record.run_id]
            if own:
                variants.append(RowVariants(row.name, tuple(judge(own, margin))))
                break
    return tuple(variants)


def by_device(rows: Sequence[RowVariants]) -> dict[str, list[tuple[str, VariantVerdict]]]:
    """Row names and verdicts by the description of the device."""
    groups: dict[str, list[tuple[str, VariantVerdict]]] = {}
    for row in rows:
        for verdict in row.verdicts:
            text = device_text(verdict.item.timing.device)
            groups.setdefault(text, []).append((row.row, verdict))
    return groups


TABLE_COLUMNS = ("architecture", *COLUMNS)
"""Columns of a report's table for one device."""


def fastest_usable(verdicts: Sequence[VariantVerdict], target: str) -> VariantVerdict | None:
    """Variant with the lowest latency on a device, of those as accurate as the run's float32."""
    usable = [
        verdict
        for verdict in verdicts
        if verdict.usable
        and verdict.item.timing.device.name == target
        and not verdict.item.timing.busy
    ]
    return min(usable, key=lambda verdict: verdict.item.timing.latency_ms_median, default=None)


def section(analysis: Analysis) -> Section | None:
    """Variants of all rows, a table for each device; None if nothing was deployed."""
    tables = [
        SectionTable(
            f"Deployed on {device}",
            TABLE_COLUMNS,
            [[name, *cells(verdict)] for name, verdict in verdicts],
            [f"{name}: {verdict.sentence}" for name, verdict in verdicts],
        )
        for device, verdicts in by_device(analysis.deployed).items()
    ]
    return Section(tables=tables) if tables else None


def flat(analysis: Analysis, index: int) -> dict[str, object]:
    """Unrounded values of a row's fastest usable variant on each device."""
    values: dict[str, object] = {}
    verdicts = row_verdicts(analysis, index)
    for device in sorted({verdict.item.timing.device.name for verdict in verdicts}):
        fastest = fastest_usable(verdicts, device)
        timing = fastest.item.timing if fastest else None
        values[f"variant_on_{device}"] = fastest and fastest.item.artifact.variant
        values[f"latency_ms_on_{device}"] = timing and timing.latency_ms_median
        values[f"images_per_s_on_{device}"] = timing and timing.images_per_second
    return values


def row_verdicts(analysis: Analysis, index: int) -> Sequence[VariantVerdict]:
    """Variants of one row; empty if it was not deployed."""
    name = analysis.rows[index].name
    return next((item.verdicts for item in analysis.deployed if item.row == name), ())
