"""Execute a run in its own process, to free its memory and to isolate its crashes."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass

from pydantic import ValidationError

from benchmark.config.credentials import environment_of_runs
from benchmark.engine.worker import UNFINISHED
from benchmark.runs import run_folder as files
from benchmark.runs.events import EVENT, Event, Failed, Note, StageStarted
from benchmark.runs.record import Failure, RunRecord, Stage
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from clothclf.allocator import ALLOCATOR
from clothclf.process.command import signal_name
from clothclf.process.start import ended_with_server, kill_group, start_module

GRACE_S = 30.0
"""Seconds to wait for a process that has closed its pipe; a busy machine may be slow."""
LOST_SERVER = "its process ended because the server that forks processes was killed"


@dataclass(frozen=True)
class Limits:
    """Resource limits of a run."""

    timeout_s: float | None = None
    """Maximum duration in seconds from process start to end."""
    memory_bytes: int | None = None
    """Maximum allocated memory in bytes, without mapped files."""
    threads: int | None = None
    """Number of torch threads; None uses all cores."""
    processes: int = 1
    """Number of processes that train the network together, each on its own GPU if there are GPUs.
    They share the memory and threads."""
    visible_gpus: str | None = None
    """Visible GPUs in the format of CUDA_VISIBLE_DEVICES; None allows all."""


class RunProcess:
    """Process of one run: the constructor starts it, `read` gives events, `outcome` the result."""

    def __init__(
        self, spec: RunSpec, folder: RunFolder, limits: Limits, measure: bool = True
    ) -> None:
        """Start the process in a prepared folder; without `measure`, it skips that stage."""
        self.spec = spec
        self.folder = folder
        self.limits = limits
        self.stage: Stage = "start"
        self._rest = b""
        self._started = time.monotonic()
        self._why_ended = ""
        self._stop_requested = False
        self._rendezvous = ""
        self._restarted = False
        self._options = [] if measure else ["--without-measuring"]
        if limits.memory_bytes:
            self._options += ["--memory-bytes", str(limits.memory_bytes // limits.processes)]
        self._environment = environment = run_environment()
        if limits.threads:
            environment["OMP_NUM_THREADS"] = str(max(1, limits.threads // limits.processes))
        elif limits.processes > 1:
            threads = max(1, (os.cpu_count() or 1) // limits.processes)
            environment.setdefault("OMP_NUM_THREADS", str(threads))
        if limits.visible_gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = limits.visible_gpus
        self._start()

    def _start(self) -> None:
        reading, writing = os.pipe()
        with os.fdopen(writing), (self.folder.path / files.LOG).open("ab") as log:
            self._pipe = os.fdopen(reading, "rb", buffering=0)
            self._process = start_module(
                *self._module(),
                str(self.folder.path),
                *self._options,
                environment=self._environment,
                stdout=writing,
                stderr=log.fileno(),
            )
        os.set_blocking(reading, False)

    def _restart(self) -> bool:
        """Start the process again, but only once, if it ended with the server that forked it."""
        if self._restarted or self._stop_requested or self._why_ended:
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        if not ended_with_server(self._process) or self.folder.record() is not None:
            return False
        self._restarted = True
        self.end()
        self.stage, self._rest = "start", b""
        try:
            self.folder.start(self.spec)
            self._start()
        except OSError as error:
            self._why_ended = f"{LOST_SERVER}, and it cannot start again: {error.strerror or error}"
            return False
        return True

    def _module(self) -> list[str]:
        """Return the module to execute: the worker, or the launcher of several processes."""
        if self.limits.processes == 1:
            return ["benchmark.engine.worker"]
        self._rendezvous = tempfile.mkdtemp(prefix="bench-rendezvous-")
        processes = str(self.limits.processes)
        return [
            "benchmark.engine.distributed.launch_ranks",
            "--processes",
            processes,
            "--rendezvous",
            self._rendezvous,
        ]

    def fileno(self) -> int:
        """Return the file descriptor of the pipe for events."""
        return self._pipe.fileno()

    def read(self) -> tuple[list[Event], bool]:
        """Return the new events, and whether the pipe is closed; does not block."""
        try:
            part = os.read(self._pipe.fileno(), 2**20)
        except BlockingIOError:
            return [], False
        *lines, self._rest = (self._rest + part).split(b"\n")
        events = []
        for line in lines:
            try:
                event = EVENT.validate_json(line)
            except ValidationError:  # a line that was truncated by the process's death
                continue
            if isinstance(event, StageStarted):
                self.stage = event.stage
            elif isinstance(event, Failed):
                # The first reason counts: other processes of the run may fail as a consequence.
                self._why_ended = self._why_ended or event.reason
            events.append(event)
        if not part and self._restart():
            return [*events, Note(text=f"{self.spec.name}: {LOST_SERVER}; it starts again")], False
        return events, not part

    def lateness(self) -> str:
        """Return the reason to end a run that exceeds its timeout; empty otherwise."""
        limit = self.limits.timeout_s
        if limit is None or time.monotonic() - self._started <= limit:
            return ""
        return f"it exceeded limits.timeout_s, {limit:g} seconds"

    def request_stop(self) -> None:
        """Request a stop after the current step, with a checkpoint."""
        self._stop_requested = True
        self._process.terminate()

    def end(self, why: str = "") -> None:
        """Kill the process and its children; `why` is the reason of the failure."""
        self._why_ended = self._why_ended or why
        kill_group(self._process)
        self._pipe.close()
        if self._rendezvous:
            shutil.rmtree(self._rendezvous, ignore_errors=True)

    def outcome(self) -> RunRecord | Failure | None:
        """Return the result after the pipe is closed, or None if the run stopped and can resume."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self.end()
        code = self._process.wait()
        record = self.folder.record()
        if record is not None:
            return record  # written last, so a later crash does not matter
        if not self._why_ended and (self._stop_requested or code == UNFINISHED):
            return None
        failure = self._failure(self._why_ended or f"its process {ending(code)}")
        with contextlib.suppress(OSError):  # a full disk must not stop the other runs
            self.folder.write(files.FAILURE, failure)
        return failure

    def _failure(self, reason: str) -> Failure:
        return failure_of(self.spec, self.stage, reason, self.folder.log_tail())


def run_environment() -> dict[str, str]:
    """Return the environment of a training process: fast, deterministic, without passwords."""
    # cuBLAS is only deterministic with a workspace of fixed size.
    repeatable = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    return {**ALLOCATOR, **repeatable, **environment_of_runs(), "PYTHONWARNINGS": "ignore"}


def ending(code: int) -> str:
    """Describe the exit code of a process without a record, as a phrase to follow its name."""
    if code < 0:
        name = signal_name(-code)
        hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}"
    return f"ended with code {code} without a record"


def failure_of(spec: RunSpec, stage: Stage, reason: str, log_tail: str = "") -> Failure:
    """Return a failure with the current time."""
    return Failure(
        run_id=spec.run_id,
        spec=spec,
        stage=stage,
        reason=reason,
        log_tail=log_tail,
        at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
