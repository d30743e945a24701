"""Interface of the objects that follow a study's runs, such as the terminal and the tracker."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from benchmark.runs.events import Event
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec


class Listener(Protocol):
    """Callbacks for the runs of a study; implemented by the terminal and the tracker."""

    def on_skipped(self, folder: RunFolder, record: RunRecord) -> None:
        """The run was already finished."""

    def on_failed_before(self, folder: RunFolder, failure: Failure) -> None:
        """The run failed in an earlier study and is not retried, as no retry was requested."""

    def on_elsewhere(self, folder: RunFolder, spec: RunSpec) -> None:
        """Another process executes the run; this one checks again later."""

    def on_started(self, folder: RunFolder, spec: RunSpec, resumed: bool) -> None:
        """The run starts, or resumes an earlier attempt."""

    def on_event(self, spec: RunSpec, event: Event) -> None:
        """The run's process sent an event."""

    def on_finished(self, folder: RunFolder, record: RunRecord) -> None:
        """The run has finished and its record is written."""

    def on_failed(self, folder: RunFolder, failure: Failure) -> None:
        """The run has failed; the study continues with the next one."""

    def on_interrupted(self, folder: RunFolder, spec: RunSpec) -> None:
        """The user interrupted the study during this run."""

    def on_tick(self) -> None:
        """Called several times per second while runs execute."""


@runtime_checkable
class StudyListener(Listener, Protocol):
    """A listener with a callback for the study as a whole."""

    def on_study(self, plan: Sequence[RunSpec]) -> contextlib.AbstractContextManager[None]:
        """Return a context that spans the runs of a plan and exits however the study ends."""
