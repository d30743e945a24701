"""Worker process of one run: `python -m benchmark.engine.worker FOLDER`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from benchmark.config.logging_config import configure_logging
from benchmark.runs import run_folder as files
from benchmark.runs.events import (
    EpochDone,
    Event,
    Failed,
    Note,
    Progress,
    Resumed,
    StageStarted,
    describe,
)
from benchmark.runs.run_folder import RunFolder
from clothclf.errors import TrainingStopped, first_line

logger = logging.getLogger("benchmark.engine.worker")  # its own name is __main__

PROGRESS_EVERY_S = 0.2
UNFINISHED = 75
"""Exit code of a run that stopped on request and can resume."""


class EventPipe:
    """Writes events as JSON lines to the original standard output; prints go to the log."""

    def __init__(self) -> None:
        """Reserve the pipe to the parent for events."""
        self._pipe = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
        os.dup2(2, 1)
        self._last_progress = 0.0

    def emit(self, event: Event) -> None:
        """Send an event; progress at most five times per second, except for the last step."""
        if isinstance(event, (StageStarted, EpochDone, Resumed, Note)):
            logger.info("%s", describe(event))
        elif isinstance(event, Progress):
            now = time.monotonic()
            if event.done < event.total and now - self._last_progress < PROGRESS_EVERY_S:
                return
            self._last_progress = now
        # If the parent has died, the broken pipe ends this process.
        self._pipe.write(event.model_dump_json() + "\n")


def main(folder: RunFolder, measure: bool, memory_bytes: int | None = None) -> int:
    """Execute the run of a folder; return 0, UNFINISHED, or 1 after reporting the failure."""
    pipe = EventPipe()
    spec = folder.spec()
    if spec is None:
        print(f"{folder.path}: no readable {files.SPEC}", file=sys.stderr)
        return 1
    configure_logging("info", spec.name)
    # Exit instead of raising: a library could swallow an exception during its import.
    signal.signal(signal.SIGTERM, lambda number, frame: end_process(UNFINISHED))
    from benchmark.engine.pipeline import Pipeline, Stop  # torch; prints cannot reach the pipe

    stop = Stop()
    pipeline = Pipeline(spec, folder, pipe.emit, stop, memory_bytes)
    try:
        signal.signal(signal.SIGTERM, lambda number, frame: stop.request())
        return UNFINISHED if pipeline.run(measure) is None else 0
    except TrainingStopped:
        return UNFINISHED
    except BrokenPipeError:
        return 1
    except Exception as error:
        report_failure(pipe, error)
        return 1


def report_failure(pipe: EventPipe, error: Exception, whose: str = "") -> None:
    """Send the reason of the failure, and write the traceback to the log."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe.emit(Failed(reason=whose + _describe(error)))
    logger.error("failed", exc_info=error)


def end_process(code: int) -> NoReturn:
    """Flush the log and exit the process."""
    with contextlib.suppress(OSError):  # disk full
        sys.stderr.flush()
    # Everything is written and synced; the regular shutdown of torch only takes time.
    os._exit(code)


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of a run's process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--without-measuring", action="store_true")
    parser.add_argument("--memory-bytes", type=int)
    return parser


def _describe(error: Exception) -> str:
    """Return the reason of a failure in one sentence."""
    from clothclf.training.step import is_out_of_memory

    reason = first_line(error)
    if is_out_of_memory(error):
        return f"out of memory, even with one image at a time ({reason})"
    return reason


if __name__ == "__main__":
    options = argument_parser().parse_args()
    end_process(
        main(RunFolder(options.folder), not options.without_measuring, options.memory_bytes)
    )
