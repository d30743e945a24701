"""Entry point of each process of a distributed run, started by `launch_ranks`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from benchmark.config.logging_config import configure_logging
from benchmark.engine.worker import (
    UNFINISHED,
    EventPipe,
    argument_parser,
    end_process,
    report_failure,
)
from benchmark.runs import run_folder as files
from benchmark.runs.run_folder import RunFolder
from clothclf.errors import TrainingStopped

OTHERS_FIRST_S = 3.0
"""Seconds for the agent to notice that another process died before this one lost contact."""


def main(
    folder: RunFolder, rendezvous: Path, measure: bool = True, memory_bytes: int | None = None
) -> int:
    """Execute the run of a folder as its first process or a follower; return the exit code.

    This is 0, UNFINISHED, or 1 after reporting the failure.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    pipe = EventPipe()
    spec = folder.spec()
    if spec is None:
        print(f"{folder.path}: no readable {files.SPEC}", file=sys.stderr)
        return 1
    configure_logging("info", f"{spec.name} process {rank + 1}")
    from benchmark.engine.distributed.follower import run_follower
    from benchmark.engine.pipeline import Pipeline, Stop
    from clothclf.training.distributed.process_group import init_process_group

    stop = Stop()
    try:
        group = init_process_group(rendezvous, spec.device)
        if rank:
            run_follower(spec, folder, group, stop, memory_bytes)
            return 0
        pipeline = Pipeline(spec, folder, pipe.emit, stop, memory_bytes, group)
        signal.signal(signal.SIGTERM, lambda number, frame: stop.request())
        return UNFINISHED if pipeline.run(measure) is None else 0
    except TrainingStopped:
        return UNFINISHED
    except BrokenPipeError:
        return 1
    except Exception as error:
        if stop.requested:  # the other processes may have ended during a collective
            return UNFINISHED
        _notify(pipe, error, rank, size)
        return 1


def _notify(pipe: EventPipe, error: Exception, rank: int, size: int) -> None:
    """Report the failure, unless another process is the cause: the agent then ends this one."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if rank or isinstance(error, RuntimeError):
        time.sleep(OTHERS_FIRST_S)
    report_failure(pipe, error, f"process {rank + 1} of {size}: " if rank else "")


if __name__ == "__main__":
    parser = argument_parser()
    parser.add_argument("--rendezvous", type=Path, required=True)
    options = parser.parse_args()
    measure = not options.without_measuring
    end_process(main(RunFolder(options.folder), options.rendezvous, measure, options.memory_bytes))
