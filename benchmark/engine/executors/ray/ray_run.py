"""The driver's side of a run on a Ray cluster: a thread receives the messages of its node.

The thread writes events to a pipe, so that the scheduler can wait for it as for a local process,
and files to the run's folder, the record last.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmark.engine.executors.ray.bundle import (
    Chunk,
    Ended,
    Lines,
    Message,
    Started,
    received_path,
)
from benchmark.engine.executors.ray.ray_errors import error_text, node_lost_errors
from benchmark.engine.process import GRACE_S, failure_of
from benchmark.runs import run_folder as files
from benchmark.runs.events import EVENT, EpochDone, Event, Note, StageStarted
from benchmark.runs.record import Failure, RunRecord, Stage
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from clothclf.data.atomic import file_sha256

MAX_RETRIES = 3
"""Maximum number of retries of a run whose node is lost."""
THEIR_RECORD, THEIR_FAILURE = ".their-record", ".their-failure"
"""Names of the received files. The final ones are written with the paths of this machine."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One attempt at a run on the cluster."""

    messages: Iterator[Message]
    request_stop: Callable[[], None]
    """Request the run to stop."""
    cancel: Callable[[bool], None]
    """Remove the task from the queue or, if called with True, kill its worker."""


class RayRun:
    """A run on a cluster: the constructor submits it, and it is retried if its node is lost."""

    def __init__(self, spec: RunSpec, folder: RunFolder, submit: Callable[[int], Task]) -> None:
        """Call `submit` in a thread with the number of the attempt, from 1, to start a task."""
        self.spec = spec
        self.folder = folder
        self.stage: Stage = "start"
        self._submit = submit
        self._attempt = 0
        self._task: Task | None = None
        self._started = False
        self._node = ""
        self._result: RunRecord | Failure | None = None
        self._why_ended = ""
        self._stop_requested = self._ended = False
        self._epochs_reported = 0
        self._rest = b""
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._thread = threading.Thread(target=self._execute, daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Return the file descriptor of the pipe for events."""
        return self._read_end

    def read(self) -> tuple[list[Event], bool]:
        """Return the new events, and whether the pipe is closed; does not block.

        Epochs that an earlier attempt already reported are left out.
        """
        try:
            part = os.read(self._read_end, 2**20)
        except BlockingIOError:
            return [], False
        *lines, self._rest = (self._rest + part).split(b"\n")
        events: list[Event] = []
        for line in lines:
            event = EVENT.validate_json(line)
            if isinstance(event, StageStarted):
                self.stage = event.stage
            elif isinstance(event, EpochDone):
                if event.result.epoch <= self._epochs_reported:
                    continue
                self._epochs_reported = event.result.epoch
            events.append(event)
        return events, not part

    def lateness(self) -> str:
        """Return an empty text: the node checks the timeout, which excludes time in the queue."""
        return ""

    def request_stop(self) -> None:
        """Request a stop after the current step; cancel a task that has not started."""
        self._stop_requested = True
        task = self._task
        if task is not None:
            task.request_stop()
            if not self._started:
                task.cancel(False)

    def end(self, why: str = "") -> None:
        """Kill the worker, and with it the run's process."""
        self._why_ended = self._why_ended or why
        self._stop_requested = self._ended = True
        if self._task is not None and self._thread.is_alive():
            self._task.cancel(True)
        if self._read_end >= 0:
            os.close(self._read_end)
            self._read_end = -1

    def outcome(self) -> RunRecord | Failure | None:
        """Return the result, or None if the run stopped and can resume."""
        self._thread.join(1 if self._stop_requested else GRACE_S)
        self.end()
        if self._result is None and self._why_ended:
            self._result = self._failed(self._why_ended)
        return self._result

    def _execute(self) -> None:
        """Execute attempts until the run ends or has lost too many nodes."""
        try:
            while not self._stop_requested:
                self._attempt += 1
                try:
                    self._take_in()
                    return
                except node_lost_errors() as error:
                    if self._stop_requested:
                        return
                    where = f"its node {self._node} was lost" if self._started else "it was lost"
                    reason = f"{where} ({error_text(error)})"
                    if self._attempt > MAX_RETRIES:
                        reason = f"{reason}; all {MAX_RETRIES + 1} attempts were lost"
                        self._result = self._failed(reason, lost=True)
                        return
                    retry = f"retry {self._attempt} of {MAX_RETRIES}"
                    self._notify(Note(text=f"{reason}; restarting on another node, {retry}"))
        except Exception as error:
            if not self._stop_requested:
                where = f"node {self._node}: " if self._started else ""
                self._result = self._failed(where + error_text(error, str(self.folder.path)))
        finally:
            os.close(self._write_end)

    def _take_in(self) -> None:
        """Execute one attempt, from its submission to its result."""
        self._started = False
        self._task = self._submit(self._attempt)
        if self._stop_requested:  # a stop was requested before there was a task
            self._task.cancel(False)
        incoming = _Incoming(self.folder)
        for message in self._task.messages:
            if isinstance(message, Started):
                self._started, self._node = True, message.node
                self._notify(Note(text=f"on node {message.node}"))
                if self._stop_requested:
                    self._task.request_stop()
            elif isinstance(message, Lines):
                self._write(message.text)
            elif isinstance(message, Chunk):
                incoming.take(message)
            else:
                self._result = self._concluded(message)
                return

    def _concluded(self, end: Ended) -> RunRecord | Failure | None:
        if end.how == "record":
            return self._record(end.shared)
        if end.how == "refused":
            return self._failed(end.reason)
        if end.how == "failure":
            theirs = self.folder.read(THEIR_FAILURE, Failure)
            reason = theirs.reason if theirs else "its process failed without a message"
            return self._failed(reason, stage=theirs.stage if theirs else self.stage)
        return None

    def _record(self, shared: str) -> RunRecord:
        """Write the node's record with this machine's paths; OSError if a file is damaged."""
        theirs = self.folder.read(THEIR_RECORD, RunRecord)
        (self.folder.path / THEIR_RECORD).unlink(missing_ok=True)
        if theirs is None:
            raise OSError("its record was damaged in transfer")
        here = self.folder.hashes()
        for name, sha256 in theirs.files.items():
            if name != files.SPEC and here.get(name) != sha256:
                raise OSError(f"its file {name} was damaged in transfer")
        measured = theirs.measured
        if measured is not None and shared:
            busy = "; ".join(part for part in (shared, measured.busy) if part)
            measured = dataclasses.replace(measured, busy=busy)
        ours = {
            "spec": self.spec,
            "files": here,
            "measured": measured,
            "attempts": self._attempt,
        }
        record = theirs.model_copy(update=ours)
        self.folder.write(files.RECORD, record)
        self.folder.finish()
        return record

    def _failed(self, reason: str, stage: Stage | None = None, lost: bool = False) -> Failure:
        failure = failure_of(self.spec, stage or self.stage, reason, self.folder.log_tail())
        attempts = {"lost": lost, "attempts": max(1, self._attempt)}
        failure = failure.model_copy(update=attempts)
        with contextlib.suppress(OSError):  # a full disk must not stop the other runs
            self.folder.write(files.FAILURE, failure)
        return failure

    def _notify(self, event: Event) -> None:
        self._write((event.model_dump_json() + "\n").encode())

    def _write(self, lines: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the run was ended and the pipe closed
            while lines:
                lines = lines[os.write(self._write_end, lines) :]


class _Incoming:
    """Assembles files from chunks; each file appears atomically."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder.path
        self._started: set[str] = set()

    def take(self, chunk: Chunk) -> None:
        """Append a chunk to its file; raises OSError if the complete file is damaged."""
        own = {files.RECORD: THEIR_RECORD, files.FAILURE: THEIR_FAILURE}
        target = received_path(self._folder, own.get(chunk.name, chunk.name))
        target.parent.mkdir(exist_ok=True)
        unfinished = target.with_name(f".{target.name}.coming")
        # Overwrite the unfinished file of an earlier attempt.
        with unfinished.open("ab" if chunk.name in self._started else "wb") as file:
            file.write(chunk.content)
        self._started.add(chunk.name)
        if not chunk.sha256:
            return
        _check(unfinished, chunk)
        unfinished.replace(target)


def _check(file: Path, chunk: Chunk) -> None:
    if file_sha256(file) != chunk.sha256:
        file.unlink()
        raise OSError(f"its file {chunk.name} was damaged in transfer")
