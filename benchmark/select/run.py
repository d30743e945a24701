"""`bench select` from a study to an exit code: enter, halve, fine-tune, check, tell."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from benchmark.errors import SelectError, TrackingError
from benchmark.report.analysis import Analysis, analyse
from benchmark.report.collect import Comparison
from benchmark.report.numbers import duration
from benchmark.report.pick import NO_WISHES, Wishes
from benchmark.runner.schedule import Policy
from benchmark.runner.study_run import prepare_sizes
from benchmark.select import tables
from benchmark.select.agreement import LEAST_SAMPLED, agree, draw_sample
from benchmark.select.answer import keep_answer
from benchmark.select.carry_out import Ground, RungRuns, carry_out
from benchmark.select.entrants import find_entrants, resolve_weights
from benchmark.select.halving import Standing, cut
from benchmark.select.outcome import Check, Outcome, RungResult
from benchmark.select.rungs import final_study, probe_study, training_of
from benchmark.select.schedule import (
    Pictures,
    Rung,
    final_s,
    make_schedule,
    whole_rung,
)
from benchmark.select.selection import (
    Entrant,
    Final,
    Request,
    Selection,
    read_selection,
    read_spent,
    selection_file,
    selection_name,
    write_selection,
)
from benchmark.select.timing import time_machine
from benchmark.stopping import StopRequest
from benchmark.store import cache_folder, open_store, tracking_uri
from benchmark.study import StudySettings
from benchmark.terminal.output import make_console, print_table
from clothclf.results import Weights

FINAL = "final"
CHECK = "check"


@dataclass(frozen=True)
class Options:
    """How a selection is carried out; nothing of it decides who is dropped."""

    workers: int = 2
    retry_failed: bool = False
    dry_run: bool = False
    check_sample: int = 0
    """Architectures to train in full, and compare with the selection's order; 0 for none."""
    output: Path | None = None
    """Markdown, or JSON by its ending."""
    wishes: Wishes = NO_WISHES


def run_selection(study: StudySettings, request: Request, options: Options) -> int:
    """Select; return 0, or 1 where no architecture came to the end.

    Raises UserError for bad input, and KeyboardInterrupt, with all that was done kept, after
    Ctrl-C or SIGTERM.
    """
    if 0 < options.check_sample < LEAST_SAMPLED:
        raise SelectError(f"--check-sample {options.check_sample}: give {LEAST_SAMPLED} or more")
    if study.train.teacher.runs:
        raise SelectError(
            "train.teacher.runs: a selection trains without a teacher; leave it out, and let the "
            "winner be taught by `bench run`"
        )
    signal.signal(signal.SIGTERM, _interrupt)
    console = make_console()
    root = open_store(study)
    selection, weights = _begin(study, request, options, root, console)
    tables.describe(console, selection)
    if options.dry_run:
        return 0
    if read_selection(root, selection.name) is None:
        write_selection(root, selection)
    console.print(f"kept in {selection_file(root, selection.name)}")
    policy = Policy(retry_failed=options.retry_failed, workers=options.workers)
    with StopRequest().listening() as stop:
        ground = Ground(root, selection.name, console, policy, stop, weights)
        outcome = _Selecting(study, selection, ground, options).carry_out()
        _tell(outcome, options, console)
        keep_answer(root, study, outcome)
        _publish(outcome, study, root, console)
    return 0 if outcome.winner else 1


def _begin(
    study: StudySettings,
    request: Request,
    options: Options,
    root: Path,
    console: Console,
) -> tuple[Selection, dict[str, Weights]]:
    """The selection as it was begun, or a new one; and where parameters come from."""
    console.print(f"study {study.study}: reading data and architectures")
    cache = cache_folder(root)
    entrants, weights = find_entrants(study, request.patterns, cache, console.print)
    entering = [entrant for entrant in entrants if not entrant.out]
    if not entering:
        raise SelectError(_nobody(entrants))
    entries = [entrant.architecture for entrant in entering]
    data, pixels = prepare_sizes(study, entries, console)
    name = selection_name(study, request, data.summary.fingerprint)
    begun = read_selection(root, name)
    if begun is not None:
        console.print(f"selection {name} was begun before, and goes on")
        return begun, resolve_weights([it.architecture for it in begun.entering], study)[0]
    images = data.summary.images
    pictures = Pictures(
        train=images["train"],
        valid=images["valid"],
        test=images["test"],
        classes=len(data.summary.classes),
    )
    final = _final(study, request, weights)
    console.print("timing this machine")
    speed = time_machine(study, data, pixels, root, options.workers, console.print)
    rungs = make_schedule(
        [entrant.gmacs for entrant in entering],
        pictures,
        training_of(study, final),
        request.finalists,
        request.budget_s,
        speed,
    )
    selection = Selection(
        name=name,
        request=request,
        fingerprint=data.summary.fingerprint,
        pictures=pictures,
        final=final,
        entrants=entrants,
        speed=speed,
        rungs=tuple(rungs),
    )
    return selection, weights


def _final(study: StudySettings, request: Request, weights: dict[str, Weights]) -> Final:
    """How finalists are trained: there is nothing to fine-tune in random weights."""
    if study.model.mode != "frozen":
        return "study"
    if request.final != "auto":
        return request.final
    return "finetune" if any(item.origin != "random" for item in weights.values()) else "study"


def _nobody(entrants: tuple[Entrant, ...]) -> str:
    first = entrants[0]
    others = f", and {len(entrants) - 1} others" if len(entrants) > 1 else ""
    return f"no architecture is left to select from: {first.name}: {first.out}{others}"


class _Selecting:
    """One selection on its way through its rungs."""

    def __init__(
        self, study: StudySettings, selection: Selection, ground: Ground, options: Options
    ) -> None:
        self.study = study
        self.selection = selection
        self.ground = ground
        self.options = options
        self.entrants = {entrant.name: entrant for entrant in selection.entering}

    def carry_out(self) -> Outcome:
        results: list[RungResult] = []
        staying = list(self.entrants)
        final: RungRuns | None = None
        for number, rung in enumerate(self.selection.rungs):
            label = FINAL if rung.kind == "final" else f"r{number}"
            tables.announce(self.ground.console, self.selection, number, len(staying))
            runs = self._run(label, number, rung, staying)
            final = runs if rung.kind == "final" else None
            result = self._judge(label, number, rung, runs)
            results.append(result)
            staying = [item.name for item in result.cut.kept]
            tables.conclude(self.ground.console, result)
            if not staying:
                break
        analysis = self._analyse(final) if final and final.records else None
        check = self._check(results, final) if self.options.check_sample and analysis else None
        spent = read_spent(self.ground.root, self.selection.name).seconds
        return Outcome(self.selection, results, analysis, check, spent)

    def _run(self, label: str, number: int, rung: Rung, names: list[str]) -> RungRuns:
        pictures, final = self.selection.pictures, self.selection.final
        if rung.kind == "final":
            study = final_study(self.study, final, rung, pictures)
        else:
            study = probe_study(self.study, number, rung, pictures)
        entrants = [self.entrants[name] for name in names]
        return carry_out(self.ground, label, study, entrants, count=rung.kind == "final")

    def _judge(self, label: str, number: int, rung: Rung, runs: RungRuns) -> RungResult:
        standings = {
            name: Standing(
                name, runs.accuracy(name, probe=label != FINAL), self.entrants[name].macs
            )
            for name in runs.records
        }
        rungs = self.selection.rungs
        keep = len(standings) if label == FINAL else rungs[number + 1].architectures
        decided = cut(list(standings.values()), keep, runs.valid_images)
        return RungResult(label, rung, runs.valid_images, standings, runs.failures, decided)

    def _analyse(self, final: RungRuns) -> Analysis:
        records = [record for found in final.records.values() for record in found]
        return analyse(Comparison(records, [], []), self.ground.root, self.options.wishes)

    def _check(self, results: list[RungResult], final: RungRuns | None) -> Check:
        """Train a sample of all that were judged, and the winner, with nothing cut short."""
        asked = self.options.check_sample
        so_far = Outcome(self.selection, results, None, None)
        order = so_far.order
        sample = draw_sample(order, asked, self.study.seeds[0])
        training = training_of(self.study, self.selection.final)
        whole = whole_rung(len(sample), self.selection.pictures, training)
        winner = order[0]
        names = list(dict.fromkeys([*sample, winner]))
        gmacs = [self.entrants[name].gmacs for name in names]
        seconds = final_s(gmacs, whole, training, self.selection.speed)
        self.ground.console.print(
            f"check: {len(names)} architectures are trained in full, beside the budget; "
            f"about {duration(seconds)} if none of it is done"
        )
        study = final_study(self.study, self.selection.final, whole, self.selection.pictures)
        entrants = [self.entrants[name] for name in names]
        runs = carry_out(self.ground, CHECK, study, entrants, count=True)
        trained = {name: runs.accuracy(name) for name in sample if name in runs.records}
        last = self.selection.rungs[-1]
        full = (last.train, last.epochs) == (whole.train, whole.epochs)
        agreement = None
        if winner in runs.records:
            judged = list(final.records) if full and final else []
            agreement = agree(order, trained, runs.accuracy(winner), judged)
        return Check(asked, runs.failures, agreement)


def _tell(outcome: Outcome, options: Options, console: Console) -> None:
    columns, rows = tables.main_table(outcome)
    print_table(
        make_console(stderr=False),
        columns,
        rows,
        f"selection {outcome.selection.name}",
        tables.LEAST_NEEDED,
    )
    for line in tables.sentences(outcome):
        console.print(line)
    if options.output is None:
        return
    from benchmark.commands.options import write_output

    as_json = options.output.suffix == ".json"
    text = tables.as_json(outcome) if as_json else tables.as_markdown(outcome)
    write_output(text, options.output)


def _publish(outcome: Outcome, study: StudySettings, root: Path, console: Console) -> None:
    """Keep the selection's table beside the finalists' runs in MLflow."""
    import pandas as pd

    from benchmark.tracking.connection import first_line
    from benchmark.tracking.mlflow_store import MlflowStore

    last = outcome.selection.rungs[-1]
    named = final_study(study, outcome.selection.final, last, outcome.selection.pictures)
    texts = {
        "selection.md": tables.as_markdown(outcome),
        "selection.json": tables.as_json(outcome),
    }
    columns, rows = tables.main_table(outcome)
    try:
        store = MlflowStore(tracking_uri(named), named.study, root)
        store.log_report(texts, pd.DataFrame(rows, columns=list(columns)), [])
    except TrackingError as error:
        console.print(str(error), style="yellow")
    except Exception as error:  # database, network and disk alike
        console.print(f"MLflow does not take the table: {first_line(error)}", style="yellow")


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Before the first run SIGTERM is taken as Ctrl-C."""
    raise KeyboardInterrupt
