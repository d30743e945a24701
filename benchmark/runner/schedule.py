"""Go through a plan: skip what is done, run what is not, and let nothing stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmark.plan import RunSpec
from benchmark.record import Failure, RunRecord
from benchmark.runner.events import Event
from benchmark.runner.executor import run_isolated
from benchmark.runner.run_folder import RunFolder


class Listener(Protocol):
    """Hears of every run: the terminal and the tracker do."""

    def on_skipped(self, folder: RunFolder, record: RunRecord) -> None:
        """The run was done before."""

    def on_started(self, folder: RunFolder, spec: RunSpec) -> None:
        """The run begins, its folder is empty but for the spec."""

    def on_event(self, spec: RunSpec, event: Event) -> None:
        """The run's process said something."""

    def on_finished(self, folder: RunFolder, record: RunRecord) -> None:
        """The run has its record."""

    def on_failed(self, folder: RunFolder, failure: Failure) -> None:
        """The run has failed; the next one follows."""

    def on_interrupted(self, folder: RunFolder, spec: RunSpec) -> None:
        """The user stops the study in the middle of this run."""


@dataclass(frozen=True)
class StudyOutcome:
    """How the runs of a plan ended."""

    skipped: list[RunRecord]
    finished: list[RunRecord]
    failed: list[Failure]


def run_plan(
    plan: Sequence[RunSpec],
    root: Path,
    prepare_folder: Callable[[RunFolder, RunSpec], None],
    listeners: Sequence[Listener],
    force: bool = False,
) -> StudyOutcome:
    """Carry out every run that has no valid record below `root`; with `force`, all of them.

    `prepare_folder` fills a fresh folder with what the run reads.
    """
    outcome = StudyOutcome([], [], [])
    for spec in plan:
        folder = RunFolder.of(root, spec)
        done = None if force else folder.record()
        if done is not None:
            outcome.skipped.append(done)
            for listener in listeners:
                listener.on_skipped(folder, done)
            continue
        result = _run_one(spec, folder, prepare_folder, listeners)
        if isinstance(result, Failure):
            outcome.failed.append(result)
            for listener in listeners:
                listener.on_failed(folder, result)
        else:
            outcome.finished.append(result)
            for listener in listeners:
                listener.on_finished(folder, result)
    return outcome


def _run_one(
    spec: RunSpec,
    folder: RunFolder,
    prepare_folder: Callable[[RunFolder, RunSpec], None],
    listeners: Sequence[Listener],
) -> RunRecord | Failure:
    folder.start(spec)
    prepare_folder(folder, spec)

    def pass_on(event: Event) -> None:
        for listener in listeners:
            listener.on_event(spec, event)

    try:
        for listener in listeners:
            listener.on_started(folder, spec)
        return run_isolated(spec, folder, pass_on)
    except KeyboardInterrupt:
        for listener in listeners:
            listener.on_interrupted(folder, spec)
        raise
