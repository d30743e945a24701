"""Write a comparison of two runs or studies as tables, Markdown or JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from benchmark.compare.compare import Compared
from benchmark.compare.contrast import Change, Contrast, Side
from benchmark.compare.costs import CostChange
from benchmark.compare.fail_if import Judgement
from benchmark.compare.in_report import InReport
from benchmark.report.pairs import p_text
from benchmark.report.pick import margin_text, verdict_text
from benchmark.report.statistics import LEVEL
from benchmark.text.numbers import inline, markdown_table

MIN_SHOWN_CHANGE = 5e-5
"""Smallest deviation of a ratio from 1 to show; below it, costs are shown as the same."""


@dataclass(frozen=True)
class Table:
    """A table of text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Part = str | Table
"""A line of text, or a table."""


def parts(compared: Compared) -> list[Part]:
    """Parts of the comparison, in order."""
    result: list[Part] = [f"baseline: {compared.baseline}", f"new: {compared.new}"]
    if compared.of_studies:
        result += [_accuracy_table(compared), _cost_table(compared)]
        result += [f"Only in the baseline: {name}." for name in compared.only_baseline]
        result += [f"Only in the new study: {name}." for name in compared.only_new]
    else:
        (contrast,) = compared.contrasts
        result += [verdict(contrast), _run_table(contrast), how_sure(contrast)]
    result += _notes(compared)
    if compared.settings:
        rows = tuple((item.title, item.baseline, item.new) for item in compared.settings)
        result.append(Table("Configuration differences", ("key", "baseline", "new"), rows))
    else:
        result.append("No configuration differences.")
    return result


def as_markdown(compared: Compared, judgement: Judgement) -> str:
    """Render as Markdown."""
    texts = [f"# {inline(compared.new)} vs. {inline(compared.baseline)}"]
    texts += [f"**Failed**: {inline(item)}" for item in (*judgement.held, *judgement.missing)]
    for part in parts(compared):
        if isinstance(part, str):
            texts.append(inline(part))
        else:
            texts += [f"## {part.title}"] if part.title else []
            texts.append(markdown_table(part.rows, part.columns))
    return "\n\n".join(texts) + "\n"


def verdict(contrast: Contrast) -> str:
    """State in one sentence whether the accuracy changed."""
    new, baseline = contrast.new.name, contrast.baseline.name
    points = 100 * contrast.accuracy.difference
    details = f"{_interval(contrast.accuracy)}; {p_text(contrast.p)}{_adjusted(contrast)}"
    if contrast.verdict == "apart":
        word = "more" if points > 0 else "less"
        return f"{new} is {abs(points):.2f} points {word} accurate than {baseline} ({details})."
    if contrast.verdict == "equivalent":
        return (
            f"{new} and {baseline} are equivalent within {margin_text(contrast.margin)}: "
            f"{points:+.2f} points of accuracy ({details})."
        )
    return (
        f"Undecided whether {new} or {baseline} is more accurate: {points:+.2f} points of accuracy "
        f"({details})."
    )


def _adjusted(contrast: Contrast) -> str:
    if contrast.adjusted_for == 1:
        return ""
    return f", adjusted for the {contrast.adjusted_for} pairs of the study's report"


def how_sure(contrast: Contrast) -> str:
    """State the tests and the number of images."""
    resampled = f"bootstrap {p_text(contrast.bootstrap_p)}"
    if contrast.unpaired or contrast.mcnemar_p is None:
        first, second = contrast.images
        return (
            f"Unpaired: the test sets differ ({contrast.unpaired}), so {first:,} and {second:,} "
            f"images are compared as independent samples; {resampled}, not adjusted, without "
            "McNemar test."
        )
    return (
        f"Paired on {contrast.images[0]:,} test images, exact duplicates resampled together. "
        f"Unadjusted: exact McNemar {p_text(contrast.mcnemar_p)}, {resampled}."
    )


def _interval(change: Change) -> str:
    if change.interval is None:
        return "no interval"
    return f"{100 * change.interval.low:+.2f} to {100 * change.interval.high:+.2f}"


def _points(change: Change) -> str:
    return f"{100 * change.difference:+.2f} points ({_interval(change)})"


def _run_table(contrast: Contrast) -> Table:
    accuracy, f1 = contrast.accuracy, contrast.macro_f1
    rows = [
        ("accuracy", _percent(accuracy.baseline), _percent(accuracy.new), _points(accuracy)),
        ("macro-F1", f"{f1.baseline:.4f}", f"{f1.new:.4f}", _points(f1)),
    ]
    if contrast.only_baseline is not None and contrast.only_new is not None:
        counts = f"{contrast.only_baseline:g}", f"{contrast.only_new:g}"
        rows.append(("images correct on one side only", *counts, ""))
    rows += [
        (cost.title, _cost(cost, cost.baseline), _cost(cost, cost.new), _ratio(cost))
        for cost in contrast.costs
    ]
    sides = (contrast.baseline.name, contrast.new.name)
    return Table("", ("", *sides, f"change ({100 * LEVEL:.0f} % CI)"), tuple(rows))


ACCURACY_COLUMNS = (
    "architecture",
    "baseline",
    "new",
    "change (points)",
    "macro-F1 (points)",
    "correct on one side only",
    "McNemar",
    "bootstrap",
    "",
)
"""`correct on one side only` counts images for the baseline and for the new side."""


def _accuracy_table(compared: Compared) -> Table:
    rows = []
    for item in compared.contrasts:
        one_sided = "-"
        if item.only_baseline is not None and item.only_new is not None:
            one_sided = f"{item.only_baseline:g} and {item.only_new:g}"
        mark: str = item.verdict
        if mark == "apart":
            mark = "better" if item.accuracy.difference > 0 else "worse"
        rows.append(
            (
                item.name,
                _percent(item.accuracy.baseline),
                _percent(item.accuracy.new),
                _short_points(item.accuracy),
                _short_points(item.macro_f1),
                one_sided,
                "-" if item.mcnemar_adjusted is None else p_text(item.mcnemar_adjusted),
                p_text(item.bootstrap_adjusted),
                f"{mark}{', unpaired' * bool(item.unpaired)}",
            )
        )
    return Table("Accuracy", ACCURACY_COLUMNS, tuple(rows))


def _cost_table(compared: Compared) -> Table:
    titles = [cost.title for cost in compared.contrasts[0].costs]
    rows = [(item.name, *(_both(cost) for cost in item.costs)) for item in compared.contrasts]
    return Table("Costs (baseline to new)", ("architecture", *titles), tuple(rows))


def _notes(compared: Compared) -> list[str]:
    notes = {
        f"No ratio of {cost.title}: {cost.incomparable}."
        for item in compared.contrasts
        for cost in item.costs
        if cost.incomparable
    }
    if compared.in_report is not None and not compared.in_report.one_run_each:
        notes.add(_over_seeds(compared.in_report))
    if compared.of_studies:
        notes |= {
            f"{item.name}, unpaired: the test sets differ ({item.unpaired}) and are compared as "
            "independent samples."
            for item in compared.contrasts
            if item.unpaired
        }
        if len(compared.contrasts) > 1:
            notes.add(
                f"Intervals and p-values are adjusted for {len(compared.contrasts)} architectures."
            )
    return sorted(notes)


def _over_seeds(in_report: InReport) -> str:
    pair = in_report.pair
    return (
        f"Over all seeds, in the report of study {in_report.study}: {verdict_text(pair)}, "
        f"{100 * in_report.sign * pair.difference:+.2f} points, "
        f"{p_text(pair.p)}, adjusted for {in_report.pairs} pairs."
    )


def _short_points(change: Change) -> str:
    return f"{100 * change.difference:+.2f} ({_interval(change)})"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _cost(cost: CostChange, value: float | None) -> str:
    return "-" if value is None else cost.text(value)


def _ratio(cost: CostChange) -> str:
    if cost.ratio is None:
        return "-"
    return "same" if abs(cost.ratio - 1) < MIN_SHOWN_CHANGE else f"x {cost.ratio:.4g}"


def _both(cost: CostChange) -> str:
    if _ratio(cost) == "same":
        return f"{_cost(cost, cost.new)}, same"
    text = f"{_cost(cost, cost.baseline)} to {_cost(cost, cost.new)}"
    return text if cost.ratio is None else f"{text}, {_ratio(cost)}"


def as_json(compared: Compared, judgement: Judgement) -> str:
    """Render as JSON with unrounded values."""
    values = {
        "baseline": compared.baseline,
        "new": compared.new,
        "level": LEVEL,
        "contrasts": [_contrast(item) for item in compared.contrasts],
        "only_baseline": compared.only_baseline,
        "only_new": compared.only_new,
        "settings": [asdict(item) for item in compared.settings],
        "fails": judgement.held,
        "not_judged": judgement.missing,
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def _contrast(item: Contrast) -> dict[str, object]:
    return {
        "name": item.name,
        "baseline": _side(item.baseline),
        "new": _side(item.new),
        "images": item.images,
        "paired": not item.unpaired,
        "accuracy": _change(item.accuracy),
        "macro_f1": _change(item.macro_f1),
        "only_baseline_right": item.only_baseline,
        "only_new_right": item.only_new,
        "mcnemar_p": item.mcnemar_p,
        "mcnemar_adjusted": item.mcnemar_adjusted,
        "bootstrap_p": item.bootstrap_p,
        "bootstrap_adjusted": item.bootstrap_adjusted,
        "adjusted_for": item.adjusted_for,
        "margin": item.margin,
        "verdict": item.verdict,
        "costs": {cost.key: _cost_figures(cost) for cost in item.costs},
    }


def _side(side: Side) -> dict[str, object]:
    return {
        "architecture": side.row.architecture,
        "seeds": side.row.seeds,
        "run_ids": [record.run_id for record in side.row.records],
    }


def _change(change: Change) -> dict[str, object]:
    interval = change.interval
    return {
        "baseline": change.baseline,
        "new": change.new,
        "difference": change.difference,
        "interval": None if interval is None else [interval.low, interval.high],
    }


def _cost_figures(cost: CostChange) -> dict[str, object]:
    return {
        "baseline": cost.baseline,
        "new": cost.new,
        "ratio": cost.ratio,
        "no_ratio_because": cost.incomparable,
    }
