"""The process of one run: `python -m benchmark.runner.worker FOLDER`, started by the executor."""

from __future__ import annotations

import datetime
import os
import sys
import time
import traceback
from pathlib import Path

from benchmark.record import Failure
from benchmark.runner import run_folder as files
from benchmark.runner.events import Event, Progress
from benchmark.runner.run_folder import RunFolder

PROGRESS_EVERY_S = 0.2


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


def main(folder: RunFolder) -> int:
    """Carry out the run of a folder; return 0, or 1 with the failure written down."""
    pipe = EventPipe()
    spec = folder.spec()
    if spec is None:
        print(f"{folder.path}: no readable {files.SPEC}", file=sys.stderr)
        return 1
    from benchmark.runner.pipeline import Pipeline  # torch, after the pipe is safe from prints

    pipeline = Pipeline(spec, folder, pipe.emit)
    try:
        pipeline.carry_out()
    except BrokenPipeError:
        return 1
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        failure = Failure(
            run_id=spec.run_id,
            spec=spec,
            stage=pipeline.stage,
            reason=(str(error).strip().splitlines() or [type(error).__name__])[0],
            log_tail=folder.log_tail(),
            at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        )
        folder.write(files.FAILURE, failure)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(RunFolder(Path(sys.argv[1]))))
