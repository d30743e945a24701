"""Carry out a run in a process of its own, which frees its memory and cannot take others along."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import sys
from collections.abc import Callable

from pydantic import ValidationError

from benchmark.plan import RunSpec
from benchmark.record import Failure, RunRecord, Stage
from benchmark.runner import run_folder as files
from benchmark.runner.events import EVENT, Event, StageStarted
from benchmark.runner.run_folder import RunFolder
from clothclf.allocator import ALLOCATOR

# cuBLAS repeats itself only with a workspace of fixed size.
REPEATABLE = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
GRACE_S = 5.0


def run_isolated(
    spec: RunSpec, folder: RunFolder, on_event: Callable[[Event], None]
) -> RunRecord | Failure:
    """Start the run's process, pass on its events, and return what it left behind.

    The folder must have been started. An interrupt ends the process and is raised again.
    """
    with (folder.path / files.LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmark.runner.worker", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**ALLOCATOR, **REPEATABLE, **os.environ, "PYTHONWARNINGS": "ignore"},
            start_new_session=True,
        )
        try:
            stage = _follow(process, on_event)
            code = process.wait()
        finally:
            _end(process)
    record = folder.record()
    if code == 0 and record is not None:
        return record
    failure = folder.failure()
    if failure is None:
        failure = _died(spec, folder, stage, code)
        folder.write(files.FAILURE, failure)
    return failure


def _follow(process: subprocess.Popen[bytes], on_event: Callable[[Event], None]) -> Stage:
    """Read events until the process closes its pipe; return the last stage it spoke of."""
    stage: Stage = "start"
    if process.stdout is None:
        return stage
    for line in process.stdout:
        try:
            event = EVENT.validate_json(line)
        except ValidationError:  # a line cut short by the process's death
            continue
        if isinstance(event, StageStarted):
            stage = event.stage
        on_event(event)
    return stage


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started; does nothing where they have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _died(spec: RunSpec, folder: RunFolder, stage: Stage, code: int) -> Failure:
    """The failure of a process that left no word of its own."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
        reason = f"its process was ended by {name}{hint}"
    else:
        reason = f"its process ended with code {code} and no record"
    return Failure(
        run_id=spec.run_id,
        spec=spec,
        stage=stage,
        reason=reason,
        log_tail=folder.log_tail(),
        at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
