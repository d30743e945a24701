"""The process of one run: `python -m benchmark.engine.worker FOLDER`, started by the schedule."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

from benchmark.runs import folder as files
from benchmark.runs.events import Event, Failed, Progress
from benchmark.runs.folder import RunFolder
from clothclf.errors import TrainingStopped, first_line

PROGRESS_EVERY_S = 0.2
UNFINISHED = 75
"""Exit code of a run that stopped where it was told to, and can go on from there."""


class EventPipe:
    """Events as JSON lines on what was standard output; everything printed goes to the log."""

    def __init__(self) -> None:
        """Keep the pipe to the parent for events alone."""
        self._pipe = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
        os.dup2(2, 1)
        self._last_progress = 0.0

    def emit(self, event: Event) -> None:
        """Send an event; progress at most five times a second, its last step always."""
        if isinstance(event, Progress):
            now = time.monotonic()
            if event.done < event.total and now - self._last_progress < PROGRESS_EVERY_S:
                return
            self._last_progress = now
        # A parent that is gone breaks the pipe, and so ends this process.
        self._pipe.write(event.model_dump_json() + "\n")


def main(folder: RunFolder, measure: bool, memory_bytes: int | None = None) -> int:
    """Carry out the run of a folder; return 0, UNFINISHED, or 1 after telling of the failure."""
    pipe = EventPipe()
    spec = folder.spec()
    if spec is None:
        print(f"{folder.path}: no readable {files.SPEC}", file=sys.stderr)
        return 1
    # No exception: a library that swallows it while it is imported would carry on.
    signal.signal(signal.SIGTERM, lambda number, frame: end_process(UNFINISHED))
    from benchmark.engine.pipeline import Pipeline, Stop  # torch, with the pipe safe from prints

    stop = Stop()
    pipeline = Pipeline(spec, folder, pipe.emit, stop, memory_bytes)
    try:
        signal.signal(signal.SIGTERM, lambda number, frame: stop.ask())
        return UNFINISHED if pipeline.carry_out(measure) is None else 0
    except TrainingStopped:
        return UNFINISHED
    except BrokenPipeError:
        return 1
    except Exception as error:
        report_failure(pipe, error)
        return 1


def report_failure(pipe: EventPipe, error: Exception, whose: str = "") -> None:
    """Say why the run cannot go on, and write the traceback to its log."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe.emit(Failed(reason=whose + _in_words(error)))
    with contextlib.suppress(OSError):  # of a full disk
        traceback.print_exception(error)
        sys.stderr.flush()


def end_process(code: int) -> NoReturn:
    """End this process, its log written."""
    with contextlib.suppress(OSError):  # of a full disk
        sys.stderr.flush()
    # All is written and synced; taking torch apart object by object would only take time.
    os._exit(code)


def what_is_asked() -> argparse.ArgumentParser:
    """The arguments of a run's process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--without-measuring", action="store_true")
    parser.add_argument("--memory-bytes", type=int)
    return parser


def _in_words(error: Exception) -> str:
    """The reason of a failure, in one sentence."""
    from clothclf.training.step import is_out_of_memory

    reason = first_line(error)
    if is_out_of_memory(error):
        return f"memory is too short, even for one image at a time ({reason})"
    return reason


if __name__ == "__main__":
    asked = what_is_asked().parse_args()
    end_process(main(RunFolder(asked.folder), not asked.without_measuring, asked.memory_bytes))
