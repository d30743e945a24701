"""Text and tables of a selection: schedule, progress and result."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from benchmark.select.agreement import MIN_SAMPLED
from benchmark.select.clock import CHECK
from benchmark.select.outcome import (
    CandidateResult,
    Outcome,
    RungResult,
    below_before,
    candidate_results,
    find_winner,
    noisy_names,
)
from benchmark.select.promotion import noise, within_noise
from benchmark.select.rung import Rung
from benchmark.select.rung_schedule import expected_s
from benchmark.select.rung_studies import rung_label
from benchmark.select.selection_state import Candidate, Final
from benchmark.terminal.output import make_console, print_table
from benchmark.text.numbers import duration, giga, inline, markdown_table, millions

SCHEDULE_COLUMNS = (
    "rung",
    "trained part",
    "architectures",
    "training images",
    "validation images",
    "epochs",
    "expected time",
)
DROP_FIRST = ("parameters", "GMACs")
MAX_NAMED = 8
"""Maximum number of architectures that a sentence names."""


KINDS = {"heads": "a head on a frozen backbone", "probe": "a head on a frozen backbone"}


def describe(
    console: Console,
    candidates: Sequence[Candidate],
    name: str,
    rungs: Sequence[Rung],
    final: Final,
) -> None:
    """Print the candidates and the expected schedule."""
    out = [candidate for candidate in candidates if candidate.out]
    console.print(f"{len(candidates) - len(out)} architectures selected, {len(out)} excluded")
    for candidate in out[:MAX_NAMED]:
        console.print(f"  {candidate.name}: {candidate.out}")
    if len(out) > MAX_NAMED:
        console.print(f"  and {len(out) - MAX_NAMED} more")
    rows = schedule_rows(rungs, final)
    print_table(make_console(stderr=False), SCHEDULE_COLUMNS, rows, f"schedule of {name}")


def schedule_rows(rungs: Sequence[Rung], final: Final) -> list[list[str]]:
    """Table cells of the schedule."""
    last = "all parameters" if final == "finetune" else "as in the study"
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
    """Print the start of a rung."""
    seeds = f"{rung.seeds} seeds, " if rung.kind == "seeds" else ""
    console.print(
        f"rung {label}: {remaining} architectures, {rung.train:,} training images, "
        f"{rung.epochs} epochs, {seeds}about {duration(rung.seconds)}"
    )


def conclude(console: Console, before: Sequence[RungResult], result: RungResult) -> None:
    """Print the result of a rung, with a warning if accuracy is below the previous rung's."""
    console.print(rung_sentence(result))
    below = below_before(before, result)
    if below:
        console.print(below, style="yellow")


def rung_sentence(result: RungResult) -> str:
    """State how many are promoted and eliminated, and which of these are within noise."""
    promoted, eliminated = result.promotion.promoted, result.promotion.dropped
    failed = f", {len(result.failures)} failed" if result.failures else ""
    if result.rung.kind != "probe":
        return f"{result.label}: {len(promoted)} finished{failed}"
    text = f"{result.label}: {len(promoted)} promoted, {len(eliminated)} eliminated{failed}"
    noisy = noisy_names(result)
    if not noisy:
        return text
    border = promoted[-1].accuracy
    spread = 100 * noise(border, border, result.valid_images)
    return (
        f"{text}; {len(noisy)} of them within noise of the last promoted "
        f"({100 * border:.1f} % ± {spread:.1f} on {result.valid_images:,} images): "
        f"{names(noisy)}"
    )


def main_table(outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the result: every architecture, best first."""
    labels = [result.label for result in outcome.rungs]
    columns = ["architecture", "GMACs", "parameters"]
    columns += [f"{name} (validation)" for name in labels]
    columns += ["test", "result"]
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
    """Sentences beyond the table: winner, pick, agreement and time."""
    lines = [_winner(outcome)]
    finalists = outcome.finalists
    if finalists is not None and finalists.pick is not None and len(finalists.rows) > 1:
        lines.append(f"Among the finalists: {finalists.pick.text}")
    origins = {row.weights_origin for row in finalists.rows} if finalists else set()
    if len(origins) > 1:
        lines.append(
            "Some architectures start from pretrained and some from random weights, which affects "
            "their ranking as much as the architecture does."
        )
    lines += [*_check(outcome), _time(outcome)]
    return lines


def _winner(outcome: Outcome) -> str:
    best = find_winner(outcome.rungs)
    if best is None:
        return "No architecture finished; see the table for the reasons."
    label, first = best
    last = next(result for result in outcome.rungs if result.label == label)
    how = ", as a head on a frozen backbone," if label == "heads" else ""
    among = (
        f"has the highest accuracy of {len(last.scores)} finalists"
        if len(last.scores) > 1
        else "is the only finalist of the last rung"
    )
    text = (
        f"{first.name}{how} {among}: {_percent(first.accuracy)} on {last.valid_images:,} "
        "validation images"
    )
    near = [
        item.name
        for item in last.promotion.promoted
        if item.name != first.name
        and within_noise(first.accuracy, item.accuracy, last.valid_images)
    ]
    return f"{text}; within noise of it: {names(near)}." if near else f"{text}."


def _check(outcome: Outcome) -> list[str]:
    check = outcome.check
    if check is None:
        return [
            "The agreement of this ranking with full training was not measured; "
            "--check-sample N trains N architectures in full, including eliminated ones."
        ]
    agree = check.agreement
    if agree is None:
        return [
            f"The agreement of this ranking with full training is unknown: fewer than "
            f"{MIN_SAMPLED} sampled architectures finished full training, or the winner did not."
        ]
    tau = "undefined" if math.isnan(agree.tau) else f"{agree.tau:.2f}"
    lines = [
        f"Agreement with full training, on {len(agree.sampled)} randomly sampled architectures: "
        f"{agree.agreeing:g} of {agree.pairs} pairs are in the same order, "
        f"{100 * agree.share:.0f} % (95 % CI {100 * agree.low:.0f} to "
        f"{100 * agree.high:.0f} %); Kendall's tau {tau}."
    ]
    if agree.ahead:
        lines.append(
            f"After full training, {_are(len(agree.ahead), 'of them is', 'of them are')} better "
            f"than the winner: {names(agree.ahead)}; the best by {100 * agree.regret:.1f} points."
        )
    else:
        lines.append("After full training, none of them is better than the winner.")
    if check.failures:
        lines.append(f"Full training failed for {names(sorted(check.failures))}.")
    return lines


def _time(outcome: Outcome) -> str:
    budget_s = outcome.selection.request.budget_s
    spent_s = sum(seconds for phase, seconds in outcome.spent_s.items() if phase != CHECK)
    over = f", exceeded by {duration(spent_s - budget_s)}" if spent_s > budget_s else ""
    return f"Total time: {duration(spent_s)} of a budget of {duration(budget_s)}{over}."


def as_markdown(outcome: Outcome) -> str:
    """Render the outcome as Markdown."""
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
        markdown_table(times, (*SCHEDULE_COLUMNS, "actual time")),
        "\n".join(f"- {inline(line)}" for line in _rung_lines(outcome)),
        "Rung accuracies are on validation images and alone decide the selection; test images of "
        "the finalists were not used for training or validation in any rung. GMACs are 10^9 "
        "multiply-adds of one forward pass of one image. Within noise means a difference that "
        "chance explains for equally good architectures (95 %).",
    ]
    return "\n\n".join(parts) + "\n"


def _rung_lines(outcome: Outcome) -> list[str]:
    lines = []
    for number, result in enumerate(outcome.rungs):
        lines += [rung_sentence(result), below_before(outcome.rungs[:number], result)]
    return [line for line in lines if line]


def as_json(outcome: Outcome) -> str:
    """Render the outcome as JSON with unrounded values."""
    selection = outcome.selection
    check = outcome.check
    agreement: dict[str, Any] | None = None
    if check is not None and check.agreement is not None:
        agree = check.agreement
        tau = None if math.isnan(agree.tau) else agree.tau
        agreement = {**asdict(agree), "share": agree.share, "tau": tau}
    pick = outcome.finalists.pick if outcome.finalists else None
    value = {
        "selection": selection.model_dump(mode="json"),
        "winner": outcome.winner,
        "pick": pick.chosen.architecture if pick and pick.chosen else None,
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


def _are(count: int, one: str, plural: str) -> str:
    return f"{count} {one if count == 1 else plural}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def names(all_names: Sequence[str]) -> str:
    """Join names, cut after MAX_NAMED."""
    shown = ", ".join(all_names[:MAX_NAMED])
    more = len(all_names) - MAX_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
