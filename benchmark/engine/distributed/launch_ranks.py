"""Launch the processes of one run with torchrun's agent; a module to execute with its FOLDER.

The agent starts the processes, ends the rest if one dies, and forwards stop requests. Rendezvous
is by files, and all communication uses the loopback interface.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.engine.process import ending
from benchmark.engine.worker import UNFINISHED, end_process
from benchmark.runs.events import Failed
from clothclf.process.command import module_command

STOP_GRACE_S = 15
"""Seconds for a step and a checkpoint; less than the scheduler waits for the run."""
ENDED_BY_AGENT = -signal.SIGTERM
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
PRIVATE = {
    "GLOO_SOCKET_IFNAME": LOOPBACK,
    "NCCL_SOCKET_IFNAME": LOOPBACK,
    # Otherwise the agent would listen on every interface.
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
}


def launch(processes: int, rendezvous: Path, arguments: Sequence[str]) -> int:
    """Start the processes and wait for all; return 0, UNFINISHED, or 1 after reporting why.

    `rendezvous` is an empty folder for the rendezvous of this launch.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.update(PRIVATE)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="bench",
        rdzv_backend="c10d",
        rdzv_endpoint=str(rendezvous / "agent"),
        rdzv_configs={"store_type": "file"},
        local_addr="127.0.0.1",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(rendezvous)),
    )
    if hasattr(config, "shutdown_timeout"):  # not in older versions of torch
        config.shutdown_timeout = STOP_GRACE_S
    python, *own = module_command(
        "benchmark.engine.distributed.rank_main", *arguments, "--rendezvous", str(rendezvous)
    )
    try:
        elastic_launch(config, python)(*own)
    except SignalException:
        return UNFINISHED
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        if set(codes.values()) - {ENDED_BY_AGENT} == {UNFINISHED}:
            return UNFINISHED
        # Standard output is the pipe for events that the processes inherit.
        print(Failed(reason=reason(codes, processes)).model_dump_json(), flush=True)
        return 1
    return 0


def reason(codes: Mapping[int, int], processes: int) -> str:
    """Return why a run failed, from the exit codes of its failed processes by rank.

    A killed process is taken as the cause, because others fail as a consequence and the agent
    terminates the rest.
    """

    def order(number: int) -> tuple[bool, bool, int]:
        code = codes[number]
        return code == ENDED_BY_AGENT, code >= 0, number

    rank = min(codes, key=order)
    return f"process {rank + 1} of {processes} {ending(codes[rank])}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--rendezvous", type=Path, required=True)
    options, rest = parser.parse_known_args()
    end_process(launch(options.processes, options.rendezvous, rest))
