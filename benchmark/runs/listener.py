"""Who hears of the runs of a study: the terminal and the tracker do."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from benchmark.runs.events import Event
from benchmark.runs.folder import RunFolder
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.spec import RunSpec


class Listener(Protocol):
    """Hears of every run: the terminal and the tracker do."""

    def on_skipped(self, folder: RunFolder, record: RunRecord) -> None:
        """The run was done before."""

    def on_failed_before(self, folder: RunFolder, failure: Failure) -> None:
        """The run failed earlier, and is not tried again unless asked."""

    def on_elsewhere(self, folder: RunFolder, spec: RunSpec) -> None:
        """Another process has the run; this one looks again later."""

    def on_started(self, folder: RunFolder, spec: RunSpec, resumed: bool) -> None:
        """The run begins, or goes on where an earlier process left it."""

    def on_event(self, spec: RunSpec, event: Event) -> None:
        """The run's process said something."""

    def on_finished(self, folder: RunFolder, record: RunRecord) -> None:
        """The run has its record."""

    def on_failed(self, folder: RunFolder, failure: Failure) -> None:
        """The run has failed; the next one follows."""

    def on_interrupted(self, folder: RunFolder, spec: RunSpec) -> None:
        """The user stops the study in the middle of this run."""

    def on_tick(self) -> None:
        """Some fraction of a second has passed."""


@runtime_checkable
class StudyListener(Listener, Protocol):
    """A listener that also hears of the study as a whole."""

    def on_study(self, plan: Sequence[RunSpec]) -> contextlib.AbstractContextManager[None]:
        """Entered before the first run of a plan, left after the last, however the study ends."""
