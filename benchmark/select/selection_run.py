"""Run a selection rung by rung; each rung is planned from the remaining time."""

from __future__ import annotations

import time

from benchmark.config.study import StudySettings
from benchmark.report.analysis import Analysis, analyse
from benchmark.report.collect import Comparison
from benchmark.runs.run_folder import RunFolder
from benchmark.select import select_text
from benchmark.select.agreement import agree, draw_sample
from benchmark.select.clock import CHECK, RESULT
from benchmark.select.execution import FINAL_STEPS_S, Options
from benchmark.select.finalist_rungs import final_s, full_rung, plan_final, plan_seeds
from benchmark.select.outcome import Check, Outcome, RungResult, find_winner
from benchmark.select.promotion import RungScore, promote
from benchmark.select.run_rung import RungRuns, SelectionContext, plan_rung, run
from benchmark.select.rung import Rung, Speed
from benchmark.select.rung_schedule import BudgetError, make_schedule
from benchmark.select.rung_studies import final_study, rung_label, rung_study, training_of
from benchmark.select.selection_state import Selection, Winner, write_selection
from benchmark.select.timing import time_finalist
from benchmark.text.numbers import duration

USED_SHARE = 0.9
"""Share of the remaining time for which training is planned, as a safety margin."""
MIN_S = 10.0
"""Minimum seconds of a resumed rung, to collect its finished runs."""
MAX_SLOWDOWN = 20.0
"""Maximum factor by which a slow rung raises the time estimates of later rungs."""


class SelectionRun:
    """Runs the rungs of a selection, and stores each before it starts."""

    def __init__(
        self,
        study: StudySettings,
        selection: Selection,
        context: SelectionContext,
        options: Options,
    ) -> None:
        """`selection` must have at least one rung."""
        self.study = study
        self.selection = selection
        self.context = context
        self.options = options
        self.clock = context.clock
        self.speed = selection.speed
        self.training = training_of(study, selection.final, selection.image_counts)
        self.candidates = {candidate.name: candidate for candidate in selection.remaining}
        self.results: list[RungResult] = []
        self.runs: list[RungRuns] = []

    def run(self) -> Outcome:
        """Run all rungs and return the outcome; finished work is not repeated."""
        staying = list(self.candidates)
        while staying:
            number = len(self.results)
            if number == len(self.selection.rungs) and not self._decide(staying):
                break
            staying = self._run_rung(number, staying)
        self._complete()
        winner = self.selection.winner
        runs_by_label = {
            result.label: runs for result, runs in zip(self.results, self.runs, strict=True)
        }
        finalists = runs_by_label[winner.rung] if winner else None
        analysis = self._analyse(finalists) if finalists else None
        check = self._check(finalists) if self.options.check_sample and finalists else None
        return Outcome(self.selection, self.results, analysis, check, self.clock.seconds)

    def _run_rung(self, number: int, staying: list[str]) -> list[str]:
        """Run and evaluate a rung; returns the promoted candidates."""
        rung = self.selection.rungs[number]
        label = rung_label(rung, number)
        names = [name for name in staying[: rung.architectures] if name not in rung.stopped]
        self.clock.enter(label)
        select_text.announce(self.context.console, rung, label, len(names))
        runs = self._run(number, rung, label, names)
        if runs.stopped:
            stopped = rung.model_copy(update={"stopped": (*rung.stopped, *runs.stopped)})
            rungs = self.selection.rungs
            self._write(rungs=(*rungs[:number], stopped, *rungs[number + 1 :]))
            stopped_names = select_text.names(runs.stopped)
            self.context.console.print(f"{label}: out of time before {stopped_names} finished")
        result = self._judge(label, self.selection.rungs[number], runs)
        select_text.conclude(self.context.console, self.results, result)
        self.results.append(result)
        self.runs.append(runs)
        return [item.name for item in result.promotion.promoted]

    def _run(self, number: int, rung: Rung, label: str, names: list[str]) -> RungRuns:
        selection = self.selection
        study = rung_study(self.study, selection.final, number, rung, selection.image_counts)
        until = None
        if not selection.complete and rung.available_s is not None:
            left_s = rung.available_s - self.clock.spent_s(label)
            until = time.monotonic() + max(MIN_S, left_s)
        answered = any(result.rung.kind != "probe" for result in self.results)
        return run(
            self.context,
            label,
            study,
            [self.candidates[name] for name in names],
            probe=rung.kind == "probe",
            until=until,
            finish_one=not answered,
        )

    def _judge(self, label: str, rung: Rung, runs: RungRuns) -> RungResult:
        scores = {
            name: RungScore(
                name, runs.accuracy(name, probe=rung.kind == "probe"), self.candidates[name].macs
            )
            for name in runs.records
        }
        keep = len(scores) if rung.keep is None else rung.keep
        decided = promote(list(scores.values()), keep, runs.valid_images)
        return RungResult(
            label, rung, runs.valid_images, scores, runs.failures, decided, rung.stopped
        )

    def _decide(self, staying: list[str]) -> bool:
        """Plan the next rung from the remaining time and store it; False if there is none."""
        if self.selection.complete:
            return False
        available_s = self.clock.left_s - FINAL_STEPS_S
        last = self.results[-1].rung
        rung: Rung | None = None
        if last.kind == "probe":
            rung = self._after_probes(staying, available_s)
        elif last.kind == "heads":
            rung = self._final(staying, available_s)
        elif last.kind == "final" and self._may_repeat(last):
            rung = plan_seeds(last, self.clock.spent_s(last.kind), USED_SHARE * available_s)
        if rung is None:
            return False
        rung = rung.model_copy(update={"available_s": self.clock.left_s - FINAL_STEPS_S})
        self._write(rungs=(*self.selection.rungs, rung))
        return True

    def _may_repeat(self, last: Rung) -> bool:
        """Whether to add seeds; a study that defines the training also defines its seeds."""
        return self.training.heads and last.epochs == self.training.most_epochs and not last.stopped

    def _after_probes(self, staying: list[str], available_s: float) -> Rung:
        last = self.results[-1]
        took_s, expected_s = self.clock.spent_s(last.label), last.rung.seconds
        if took_s > expected_s:
            self.speed = slowed(self.speed, min(took_s / expected_s, MAX_SLOWDOWN))
        gmacs = [self.candidates[name].gmacs for name in staying]
        finalists = self.selection.request.finalists
        try:
            return make_schedule(
                gmacs,
                self.selection.image_counts,
                self.training,
                finalists,
                USED_SHARE * available_s,
                self.speed,
                done=len(self.results),
            )[0]
        except BudgetError as error:
            return error.shortest[0]

    def _final(self, staying: list[str], available_s: float) -> Rung | None:
        """Plan fine-tuning of as many finalists as fit, best heads first."""
        gmacs = [self.candidates[name].gmacs for name in staying]
        image_counts, training = self.selection.image_counts, self.training
        # A machine that was busy may be idle by now, so an optimistic estimate decides on timing.
        hopeful = slowed(self.speed, 0.5)
        rung = plan_final(gmacs[:1], image_counts, training, available_s, hopeful)
        if rung is not None:
            study = final_study(self.study, self.selection.final, rung, image_counts)
            best = [self.candidates[staying[0]]]
            (spec, *_), _ = plan_rung(self.context, rung.kind, study, best, probe=False)
            notify = self.context.console.print
            self.speed = time_finalist(spec, gmacs[0], self.speed, notify)
            left_s = USED_SHARE * (self.clock.left_s - FINAL_STEPS_S)
            rung = plan_final(gmacs, image_counts, training, left_s, self.speed)
        if rung is None:
            left = duration(max(0.0, self.clock.left_s))
            self.context.console.print(
                f"the remaining {left} are too short to train a whole network for "
                f"{training.least_epochs} epochs; the result is a head on a frozen backbone"
            )
        return rung

    def _complete(self) -> None:
        self.clock.enter(RESULT)
        best = find_winner(self.results)
        winner = None
        if best is not None:
            label, score = best
            runs = self.runs[[result.label for result in self.results].index(label)]
            folder = RunFolder.of(self.context.root, runs.run(score.name).spec).path
            winner = Winner(
                name=score.name,
                rung=label,
                run=folder.relative_to(self.context.root),
                valid_accuracy=score.accuracy,
            )
        if (self.selection.complete, self.selection.winner) != (True, winner):
            self._write(complete=True, winner=winner)

    def _write(self, **changes: object) -> None:
        self.selection = self.selection.model_copy(update=changes)
        write_selection(self.context.root, self.selection)

    def _analyse(self, finalists: RungRuns) -> Analysis:
        records = [record for own_records in finalists.records.values() for record in own_records]
        return analyse(Comparison(records, [], []), self.context.root, self.options.criteria)

    def _check(self, finalists: RungRuns) -> Check:
        """Train a sample of all candidates, and the winner, in full."""
        self.clock.enter(CHECK)
        sample_size = self.options.check_sample
        order = Outcome(self.selection, self.results, None, None).order
        sample = draw_sample(order, sample_size, self.study.seeds[0])
        whole = full_rung(len(sample), self.selection.image_counts, self.training)
        winner = order[0]
        names = list(dict.fromkeys([*sample, winner]))
        gmacs = [self.candidates[name].gmacs for name in names]
        seconds = final_s(gmacs, whole, self.training, self.speed)
        self.context.console.print(
            f"check: training {len(names)} architectures in full, outside the budget; "
            f"about {duration(seconds)} unless already done"
        )
        study = final_study(self.study, self.selection.final, whole, self.selection.image_counts)
        runs = run(self.context, CHECK, study, [self.candidates[name] for name in names])
        trained = {name: runs.accuracy(name) for name in sample if name in runs.records}
        last = self.selection.rungs[-1]
        full = (last.kind, last.train, last.epochs) == (whole.kind, whole.train, whole.epochs)
        agreement = None
        if winner in runs.records:
            fully_trained = list(finalists.records) if full else []
            agreement = agree(order, trained, runs.accuracy(winner), fully_trained)
        return Check(sample_size, runs.failures, agreement)


def slowed(speed: Speed, times: float) -> Speed:
    """Speed of a machine that takes `times` as long for everything."""
    slower = ("seconds_per_gmac", "seconds_per_root_gmac", "head_step_s", "start_s", "count_s")
    return speed.model_copy(update={name: times * getattr(speed, name) for name in slower})
