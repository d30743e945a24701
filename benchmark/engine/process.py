"""A run in a process of its own, which frees its memory and cannot take others along."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

from pydantic import ValidationError

from benchmark.config.credentials import environment_of_runs
from benchmark.engine.worker import UNFINISHED
from benchmark.runs import folder as files
from benchmark.runs.events import EVENT, Event, Failed, StageStarted
from benchmark.runs.folder import RunFolder
from benchmark.runs.record import Failure, RunRecord, Stage
from benchmark.runs.spec import RunSpec
from clothclf.allocator import ALLOCATOR
from clothclf.orphans import module_command, signal_name

GRACE_S = 30.0
"""For a process that has closed its pipe to end by itself; a busy machine is slow at it."""


@dataclass(frozen=True)
class Limits:
    """What a run's process may take."""

    timeout_s: float | None = None
    """From its start to its end."""
    memory_bytes: int | None = None
    """That it may allocate; files that it maps do not count."""
    threads: int | None = None
    """Of torch; all cores without."""
    processes: int = 1
    """That train the run's network together, each on a GPU of its own where there are GPUs; memory
    and threads are divided among them."""
    visible_gpus: str | None = None
    """GPUs that it may use, as CUDA_VISIBLE_DEVICES lists them; without, all."""


class RunProcess:
    """One run's process: started by being made, read while it goes on, then asked how it ended."""

    def __init__(
        self, spec: RunSpec, folder: RunFolder, limits: Limits, measure: bool = True
    ) -> None:
        """Start it in a folder that is ready; without `measure` it ends before measuring."""
        self.spec = spec
        self.folder = folder
        self.limits = limits
        self.stage: Stage = "start"
        self._rest = b""
        self._started = time.monotonic()
        self._why_ended = ""
        self._asked_to_stop = False
        self._meeting = ""
        options = [] if measure else ["--without-measuring"]
        if limits.memory_bytes:
            options += ["--memory-bytes", str(limits.memory_bytes // limits.processes)]
        environment = run_environment()
        if limits.threads:
            environment["OMP_NUM_THREADS"] = str(max(1, limits.threads // limits.processes))
        elif limits.processes > 1:
            threads = max(1, (os.cpu_count() or 1) // limits.processes)
            environment.setdefault("OMP_NUM_THREADS", str(threads))
        if limits.visible_gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = limits.visible_gpus
        with (folder.path / files.LOG).open("ab") as log:
            self._process = subprocess.Popen(
                module_command(*self._module(), str(folder.path), *options),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                # Of its own session, so that Ctrl-C in a terminal reaches the parent alone.
                start_new_session=True,
            )
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        self._pipe = self._process.stdout
        os.set_blocking(self._pipe.fileno(), False)

    def _module(self) -> list[str]:
        """What Python runs: the run itself, or what starts the processes that share in it."""
        if self.limits.processes == 1:
            return ["benchmark.engine.worker"]
        self._meeting = tempfile.mkdtemp(prefix="bench-meeting-")
        processes = str(self.limits.processes)
        return [
            "benchmark.engine.distributed.launch_ranks",
            "--processes",
            processes,
            "--meeting",
            self._meeting,
        ]

    def fileno(self) -> int:
        """Of the pipe that it tells events on."""
        return self._pipe.fileno()

    def read(self) -> tuple[list[Event], bool]:
        """Events that have come, and whether there will be no more."""
        try:
            part = os.read(self._pipe.fileno(), 2**20)
        except BlockingIOError:
            return [], False
        *lines, self._rest = (self._rest + part).split(b"\n")
        events = []
        for line in lines:
            try:
                event = EVENT.validate_json(line)
            except ValidationError:  # a line cut short by the process's death
                continue
            if isinstance(event, StageStarted):
                self.stage = event.stage
            elif isinstance(event, Failed):
                # Other processes of the run may then fail for want of this one.
                self._why_ended = self._why_ended or event.reason
            events.append(event)
        return events, not part

    def lateness(self) -> str:
        """Why it is to be ended, where it has taken longer than it may; else empty."""
        limit = self.limits.timeout_s
        if limit is None or time.monotonic() - self._started <= limit:
            return ""
        return f"it took longer than limits.timeout_s, {limit:g} seconds"

    def ask_to_stop(self) -> None:
        """Let it finish its step and write a checkpoint."""
        self._asked_to_stop = True
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def end(self, why: str = "") -> None:
        """Kill it and all that it started; `why` will be the reason of its failure."""
        self._why_ended = self._why_ended or why
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._pipe.close()
        if self._meeting:
            shutil.rmtree(self._meeting, ignore_errors=True)

    def outcome(self) -> RunRecord | Failure | None:
        """How it ended, once its pipe is closed; None where it stopped and can go on."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self.end()
        code = self._process.returncode
        record = self.folder.record()
        if record is not None:
            return record  # it comes last: how the process went after that is no matter
        if not self._why_ended and (self._asked_to_stop or code == UNFINISHED):
            return None
        failure = self._failure(self._why_ended or f"its process {ending(code)}")
        with contextlib.suppress(OSError):  # a full disk is no reason to stop the others
            self.folder.write(files.FAILURE, failure)
        return failure

    def _failure(self, reason: str) -> Failure:
        return failure_of(self.spec, self.stage, reason, self.folder.log_tail())


def run_environment() -> dict[str, str]:
    """Of a process that trains: what makes it fast and repeatable, and no password."""
    # cuBLAS repeats itself only with a workspace of fixed size.
    repeatable = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    return {**ALLOCATOR, **repeatable, **environment_of_runs(), "PYTHONWARNINGS": "ignore"}


def ending(code: int) -> str:
    """What an exit code says of a process that left no record, in words that follow its name."""
    if code < 0:
        name = signal_name(-code)
        hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
        return f"was ended by {name}{hint}"
    return f"ended with code {code} and no record"


def failure_of(spec: RunSpec, stage: Stage, reason: str, log_tail: str = "") -> Failure:
    """A failure that happens now."""
    return Failure(
        run_id=spec.run_id,
        spec=spec,
        stage=stage,
        reason=reason,
        log_tail=log_tail,
        at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
