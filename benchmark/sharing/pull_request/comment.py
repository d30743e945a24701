"""Markdown of a comment: verdict, pick, plot and table first, then what is worth a click."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmark.sharing.pull_request.job import Job
from benchmark.sharing.pull_request.results import (
    Change,
    Comparison,
    Contrast,
    CostPair,
    FailedRun,
    Outcome,
    Pick,
    Report,
    Row,
    Table,
)
from benchmark.text.github_text import github_code, github_text
from benchmark.text.numbers import giga, markdown_table, millions

MAX_CHARACTERS = 60_000
"""GitHub allows 65,536, of which the marker takes some."""
MAX_ROWS = 30
MAX_BULLETS = 10
MAX_NAME = 80
MAX_SENTENCE = 1_000
PLOT_WIDTH = 640
HEADINGS = {"passed": "✅ Passed", "failed": "❌ Failed", "error": "⚠️ Not judged"}
COMPARED = ("architecture", "accuracy", "change (points, 95 % CI)", "verdict", "MACs", "latency")
REPORTED = ("architecture", "accuracy", "95 % CI", "macro-F1", "MACs", "parameters", "latency")


def render(
    outcome: Outcome,
    comparison: Comparison | None,
    report: Report | None,
    plot: str,
    notes: Sequence[str],
    job: Job,
) -> str:
    """Render a comment of at most MAX_CHARACTERS.

    `plot` is the address of the image, or empty; `notes` say what is missing and why.
    """
    table = report.comparisons[0] if report is not None and report.comparisons else None
    pick = table.pick if table is not None else None
    parts = [
        _heading(outcome, comparison, report),
        _verdict(outcome, comparison),
        *_pick(pick),
        f'<img src="{plot}" width="{PLOT_WIDTH}" alt="Plot of the report">' if plot else "",
        _report_table(table) if comparison is None else _compared_table(comparison),
        _bullets([*outcome.notes, *notes]),
        *(_report_details(table) if comparison is None else _compared_details(comparison)),
    ]
    return _fitting(parts, _footer(outcome, job))


def _fitting(parts: Sequence[str], footer: str) -> str:
    """Join the parts that fit, in their order, which is that of importance."""
    kept, room = [], MAX_CHARACTERS - len(footer)
    for part in parts:
        if part and len(part) + 2 <= room:
            kept.append(part)
            room -= len(part) + 2
    return "\n\n".join([*kept, footer]) + "\n"


def _heading(outcome: Outcome, comparison: Comparison | None, report: Report | None) -> str:
    title = outcome.title
    if not title and comparison is not None:
        title = f"{comparison.new} vs. {comparison.baseline}"
    elif not title:
        title = report.study if report is not None else outcome.command
    parts = [HEADINGS.get(outcome.verdict, ""), github_text(title)]
    return f"### {' · '.join(part for part in parts if part)}"


def _verdict(outcome: Outcome, comparison: Comparison | None) -> str:
    if outcome.verdict == "passed":
        return f"No condition is met: {github_text('; '.join(outcome.conditions), MAX_SENTENCE)}."
    fails = comparison.fails if comparison is not None else ()
    missing = comparison.not_judged if comparison is not None else ()
    return _bullets([*fails, *missing, *outcome.errors])


def _pick(pick: Pick | None) -> Iterator[str]:
    """The pick in bold, and what stands beside it."""
    if pick is not None:
        beside = " ".join(part for part in (pick.runner_up_sentence, *pick.notes) if part)
        yield f"**{github_text(pick.sentence, MAX_SENTENCE)}**"
        yield github_text(beside, MAX_SENTENCE)


def _compared_table(comparison: Comparison) -> str:
    return _table([_contrast_cells(item) for item in comparison.contrasts], COMPARED)


def _contrast_cells(item: Contrast) -> list[str]:
    accuracy = item.accuracy
    verdict = item.verdict
    if verdict == "apart":
        verdict = "better" if accuracy.difference > 0 else "worse"
    return [
        item.name,
        f"{_percent(accuracy.baseline)} → {_percent(accuracy.new)}",
        _points(accuracy),
        verdict,
        _cost(item.costs.get("macs"), lambda count: giga(round(count))),
        _cost(item.costs.get("latency"), _milliseconds),
    ]


def _points(change: Change) -> str:
    if change.interval is None:
        return f"{100 * change.difference:+.2f}"
    low, high = change.interval
    return f"{100 * change.difference:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"


def _cost(cost: CostPair | None, text: Callable[[float], str]) -> str:
    if cost is None or cost.new is None:
        return "-"
    if cost.baseline is None or cost.baseline == cost.new:
        return text(cost.new)
    ratio = f" (x {cost.ratio:.3g})" if cost.ratio is not None else ""
    return f"{text(cost.baseline)} → {text(cost.new)}{ratio}"


def _report_table(table: Table | None) -> str:
    if table is None:
        return ""
    chosen = table.pick.trade_off if table.pick is not None else None
    return _table([_row_cells(row, row.name == chosen) for row in table.rows], REPORTED)


def _row_cells(row: Row, is_pick: bool) -> list[str]:
    low, high, latency = row.test_accuracy_low, row.test_accuracy_high, row.latency_ms_median
    return [
        f"{row.name} (pick)" if is_pick else row.name,
        _percent(row.test_accuracy),
        "-" if low is None or high is None else f"{100 * low:.2f} to {100 * high:.2f}",
        f"{row.test_macro_f1:.4f}",
        giga(row.macs),
        millions(row.params),
        "-" if latency is None else _milliseconds(latency),
    ]


def _compared_details(comparison: Comparison) -> Iterator[str]:
    alone = [f"Only in the baseline: {name}" for name in comparison.only_baseline]
    alone += [f"Only in the new study: {name}" for name in comparison.only_new]
    yield _bullets(alone)
    if comparison.settings:
        cells = [[item.key, item.baseline, item.new] for item in comparison.settings]
        title = f"Configuration differences ({len(cells)})"
        yield _details(title, _table(cells, ("key", "baseline", "new")))


def _report_details(table: Table | None) -> Iterator[str]:
    if table is None:
        return
    runs = [*map(_failed, table.failed), *(f"{name}: unfinished" for name in table.unfinished)]
    if runs:
        yield _details(f"Runs without figures ({len(runs)})", _bullets(runs))


def _failed(run: FailedRun) -> str:
    return f"{run.run}: failed in {run.stage}: {run.reason}"


def _footer(outcome: Outcome, job: Job) -> str:
    parts = [github_code(f"bench {outcome.command}")]
    if job.commit:
        parts.append(f"commit {job.commit}")
    if job.run_url:
        parts.append(f"[log]({job.run_url})")
    return f"<sub>{' · '.join(parts)}</sub>"


def _details(summary: str, text: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def _table(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    cells = [[github_text(cell, MAX_NAME) for cell in row] for row in rows[:MAX_ROWS]]
    more = f"\n\n{len(rows) - MAX_ROWS} more rows are not shown." if len(rows) > MAX_ROWS else ""
    return markdown_table(cells, columns) + more


def _bullets(texts: Sequence[str]) -> str:
    more = len(texts) - MAX_BULLETS
    shown = [f"- {github_text(text)}" for text in texts[:MAX_BULLETS]]
    return "\n".join([*shown, f"- and {more} more"] if more > 0 else shown)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _milliseconds(latency: float) -> str:
    return f"{latency:.2f} ms"
