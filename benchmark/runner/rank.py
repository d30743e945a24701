"""One of the processes of a run over several; torchrun's agent starts them, see `ranks`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from benchmark.runner import run_folder as files
from benchmark.runner.events import Failed
from benchmark.runner.run_folder import RunFolder
from benchmark.runner.worker import UNFINISHED, EventPipe, in_words
from clothclf.errors import TrainingStopped
from clothclf.orphans import die_with_parent

OTHERS_FIRST_S = 3.0
"""For the agent to see that another process died before this one lost touch with it."""


def main(
    folder: RunFolder, meeting: Path, measure: bool = True, memory_bytes: int | None = None
) -> int:
    """Carry out the run of a folder, or help with it; return 0, UNFINISHED, or 1."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    pipe = EventPipe()
    spec = folder.spec()
    if spec is None:
        print(f"{folder.path}: no readable {files.SPEC}", file=sys.stderr)
        return 1
    from benchmark.runner.follow import Asked, follow
    from benchmark.runner.pipeline import Pipeline, Stop
    from clothclf.training.team import join

    stop = Stop() if rank == 0 else Asked()
    try:
        team = join(meeting, spec.device)
        if isinstance(stop, Asked):
            follow(spec, folder, team, stop, memory_bytes)
            return 0
        pipeline = Pipeline(spec, folder, pipe.emit, stop, memory_bytes, team)
        signal.signal(signal.SIGTERM, lambda number, frame: stop.ask())
        return UNFINISHED if pipeline.carry_out(measure) is None else 0
    except TrainingStopped:
        return UNFINISHED
    except BrokenPipeError:
        return 1
    except Exception as error:
        if stop.asked:  # the others are gone already, perhaps in the middle of a sentence
            return UNFINISHED
        _tell(pipe, error, rank, size)
        return 1


def _tell(pipe: EventPipe, error: Exception, rank: int, size: int) -> None:
    """Say why, unless another process was the cause: the agent then ends this one."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if rank or isinstance(error, RuntimeError):
        time.sleep(OTHERS_FIRST_S)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    reason = in_words(error)
    pipe.emit(Failed(reason=f"process {rank + 1} of {size}: {reason}" if rank else reason))
    with contextlib.suppress(OSError):  # of a full disk
        traceback.print_exception(error)
        sys.stderr.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--meeting", type=Path, required=True)
    parser.add_argument("--agent", type=int, required=True)
    parser.add_argument("--without-measuring", action="store_true")
    parser.add_argument("--memory-bytes", type=int)
    asked = parser.parse_args()
    die_with_parent(asked.agent)
    code = main(
        RunFolder(asked.folder), asked.meeting, not asked.without_measuring, asked.memory_bytes
    )
    with contextlib.suppress(OSError):  # of a full disk
        sys.stderr.flush()
    os._exit(code)
