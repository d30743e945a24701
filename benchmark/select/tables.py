"""A selection in words and tables: its schedule, its progress, what came of it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from benchmark.select.agreement import MIN_SAMPLED
from benchmark.select.clock import CHECK
from benchmark.select.halving import noise, within_noise
from benchmark.select.outcome import (
    CandidateResult,
    Outcome,
    RungResult,
    below_before,
    candidate_results,
    find_winner,
    noisy_names,
)
from benchmark.select.rung import Rung
from benchmark.select.rungs import rung_label
from benchmark.select.schedule import expected_s
from benchmark.select.selection import Candidate, Final
from benchmark.terminal.output import make_console, print_table
from benchmark.text.numbers import duration, giga, inline, markdown_table, millions

SCHEDULE_COLUMNS = (
    "rung",
    "what is trained",
    "architectures",
    "training images",
    "validation images",
    "epochs",
    "expected time",
)
DROP_FIRST = ("parameters", "GMACs")
MAX_NAMED = 8
"""Architectures that a sentence names; the table has all."""


KINDS = {"heads": "a head on a frozen backbone", "probe": "a head on a frozen backbone"}


def describe(
    console: Console,
    candidates: Sequence[Candidate],
    name: str,
    rungs: Sequence[Rung],
    final: Final,
) -> None:
    """Print who enters and the schedule that is expected."""
    out = [candidate for candidate in candidates if candidate.out]
    console.print(f"{len(candidates) - len(out)} architectures enter, {len(out)} are left out")
    for candidate in out[:MAX_NAMED]:
        console.print(f"  {candidate.name}: {candidate.out}")
    if len(out) > MAX_NAMED:
        console.print(f"  and {len(out) - MAX_NAMED} more")
    rows = schedule_rows(rungs, final)
    print_table(make_console(stderr=False), SCHEDULE_COLUMNS, rows, f"schedule of {name}")


def schedule_rows(rungs: Sequence[Rung], final: Final) -> list[list[str]]:
    """The schedule as text."""
    last = "all parameters" if final == "finetune" else "as the study says"
    return [
        [
            rung_label(rung, number),
            KINDS.get(rung.kind, last),
            str(rung.architectures),
            f"{rung.train:,}",
            f"{rung.valid:,}",
            str(rung.epochs),
            duration(rung.seconds),
        ]
        for number, rung in enumerate(rungs)
    ]


def announce(console: Console, rung: Rung, label: str, remaining: int) -> None:
    """Say which rung begins."""
    seeds = f"{rung.seeds} seeds, " if rung.kind == "seeds" else ""
    console.print(
        f"rung {label}: {remaining} architectures, {rung.train:,} training images, "
        f"{rung.epochs} epochs, {seeds}about {duration(rung.seconds)}"
    )


def conclude(console: Console, before: Sequence[RungResult], result: RungResult) -> None:
    """Say what a rung decided, and where it stays below the one before."""
    console.print(rung_sentence(result))
    below = below_before(before, result)
    if below:
        console.print(below, style="yellow")


def rung_sentence(result: RungResult) -> str:
    """Who goes on, who is dropped, and how sure that is."""
    kept, dropped = result.cut.kept, result.cut.dropped
    failed = f", {len(result.failures)} failed" if result.failures else ""
    if result.rung.kind != "probe":
        return f"{result.label}: {len(kept)} finished{failed}"
    text = f"{result.label}: {_are(len(kept), 'goes on', 'go on')}, "
    text += f"{_are(len(dropped), 'is dropped', 'are dropped')}{failed}"
    noisy = noisy_names(result)
    if not noisy:
        return text
    border = kept[-1].accuracy
    spread = 100 * noise(border, border, result.valid_images)
    return (
        f"{text}; {_are(len(noisy), 'of them is', 'of them are')} within noise of the last kept "
        f"({100 * border:.1f} % ± {spread:.1f} on {result.valid_images:,} images): "
        f"{names(noisy)}"
    )


def main_table(outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: every architecture, the best first."""
    labels = [result.label for result in outcome.rungs]
    columns = ["architecture", "GMACs", "parameters"]
    columns += [f"{name}, validation" for name in labels]
    columns += ["test", "what became of it"]
    return columns, [
        _row(candidate_result, labels) for candidate_result in candidate_results(outcome)
    ]


def _row(candidate_result: CandidateResult, labels: list[str]) -> list[str]:
    candidate = candidate_result.candidate
    return [
        candidate.name,
        giga(candidate.macs),
        millions(candidate.params),
        *(_percent(candidate_result.accuracies.get(name)) for name in labels),
        _percent(candidate_result.test_accuracy),
        candidate_result.end,
    ]


def sentences(outcome: Outcome) -> list[str]:
    """What the table does not say by itself: winner, pick, time, agreement."""
    lines = [_winner(outcome)]
    if outcome.finalists is not None and outcome.finalists.pick is not None:
        pick = outcome.finalists.pick
        lines.append(f"Among the finalists, by the rule of reports: {pick.sentence}")
    origins = {row.weights_origin for row in outcome.finalists.rows} if outcome.finalists else set()
    if len(origins) > 1:
        lines.append(
            "Some architectures began with pretrained weights and some at random: their order says "
            "as much about that as about them."
        )
    lines += [*_check(outcome), _time(outcome)]
    return lines


def _winner(outcome: Outcome) -> str:
    found = find_winner(outcome.rungs)
    if found is None:
        return "No architecture came to the end: the reasons stand in the table."
    label, first = found
    last = next(result for result in outcome.rungs if result.label == label)
    how = ", as a head on a frozen backbone," if label == "heads" else ""
    text = (
        f"{first.name}{how} has the highest accuracy of {len(last.scores)} finalists on "
        f"{last.valid_images:,} validation images, {_percent(first.accuracy)}"
    )
    near = [
        item.name
        for item in last.cut.kept
        if item.name != first.name
        and within_noise(first.accuracy, item.accuracy, last.valid_images)
    ]
    return f"{text}; within noise of it: {names(near)}." if near else f"{text}."


def _check(outcome: Outcome) -> list[str]:
    check = outcome.check
    if check is None:
        return [
            "How far this order agrees with full training was not measured: "
            "--check-sample N trains N architectures in full, dropped ones among them."
        ]
    found = check.agreement
    if found is None:
        return [
            f"How far this order agrees with full training cannot be said: fewer than "
            f"{MIN_SAMPLED} sampled architectures, or the winner, could be trained in full."
        ]
    tau = "undefined" if math.isnan(found.tau) else f"{found.tau:.2f}"
    lines = [
        f"Agreement with full training, on {len(found.sampled)} architectures drawn from all: "
        f"{found.agreeing:g} of {found.pairs} pairs are in the same order, "
        f"{100 * found.share:.0f} % (95 % interval {100 * found.low:.0f} to "
        f"{100 * found.high:.0f} %); Kendall's tau {tau}."
    ]
    if found.ahead:
        lines.append(
            f"Trained in full, {_are(len(found.ahead), 'of them is', 'of them are')} ahead of the "
            f"winner: {names(found.ahead)}; the best by {100 * found.regret:.1f} points."
        )
    else:
        lines.append("Trained in full, none of them is ahead of the winner.")
    if check.failures:
        lines.append(f"In full training failed: {names(sorted(check.failures))}.")
    return lines


def _time(outcome: Outcome) -> str:
    budget_s = outcome.selection.request.budget_s
    spent_s = sum(seconds for phase, seconds in outcome.spent_s.items() if phase != CHECK)
    over = f", {duration(spent_s - budget_s)} more than it" if spent_s > budget_s else ""
    return (
        f"Time: {duration(spent_s)} from the command to the answer, of a budget of "
        f"{duration(budget_s)}{over}."
    )


def as_markdown(outcome: Outcome) -> str:
    """All of it."""
    selection = outcome.selection
    columns, rows = main_table(outcome)
    times = [
        [*row, duration(outcome.spent_s.get(row[0], 0.0))]
        for row in schedule_rows(selection.rungs, selection.final)
    ]
    parts = [
        f"# Selection {inline(selection.name)}",
        "\n\n".join(inline(line) for line in sentences(outcome)),
        markdown_table(rows, columns),
        "## Rungs",
        markdown_table(times, (*SCHEDULE_COLUMNS, "time taken")),
        "\n".join(f"- {inline(line)}" for line in _rung_lines(outcome)),
        "Accuracies of the rungs are of validation images; they alone decide, and the test "
        "images of the finalists were in no rung's training or validation. GMACs are 10^9 "
        "multiply-adds of one forward pass of one image. Noise is what two architectures of "
        "equal worth may differ by in 95 of 100 cases.",
    ]
    return "\n\n".join(parts) + "\n"


def _rung_lines(outcome: Outcome) -> list[str]:
    lines = []
    for number, result in enumerate(outcome.rungs):
        lines += [rung_sentence(result), below_before(outcome.rungs[:number], result)]
    return [line for line in lines if line]


def as_json(outcome: Outcome) -> str:
    """All of it, numbers unrounded."""
    selection = outcome.selection
    check = outcome.check
    agreement: dict[str, Any] | None = None
    if check is not None and check.agreement is not None:
        found = check.agreement
        tau = None if math.isnan(found.tau) else found.tau
        agreement = {**asdict(found), "share": found.share, "tau": tau}
    pick = outcome.finalists.pick if outcome.finalists else None
    value = {
        "selection": selection.model_dump(mode="json"),
        "winner": outcome.winner,
        "pick": pick.trade_off.architecture if pick and pick.trade_off else None,
        "architectures": [
            _result_values(candidate_result) for candidate_result in candidate_results(outcome)
        ],
        "agreement": agreement,
        "expected_s": expected_s(selection.rungs),
        "spent_s": dict(outcome.spent_s),
    }
    return json.dumps(value, indent=1) + "\n"


def _result_values(candidate_result: CandidateResult) -> dict[str, Any]:
    return {
        "architecture": candidate_result.candidate.name,
        "macs": candidate_result.candidate.macs,
        "params": candidate_result.candidate.params,
        "reached": candidate_result.reached,
        "valid_accuracy": candidate_result.accuracies,
        "test_accuracy": candidate_result.test_accuracy,
        "within_noise": candidate_result.noisy,
        "end": candidate_result.end,
    }


def _are(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def names(all_names: Sequence[str]) -> str:
    """Those, or the first of many."""
    shown = ", ".join(all_names[:MAX_NAMED])
    more = len(all_names) - MAX_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
