"""Who writes to an MLflow run, and whether that process still lives."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

HOST_TAG = "bench.host"
PROCESS_TAG = "bench.process"
"""Number of the process, and when it started: numbers are given again."""
HEARTBEAT_TAG = "bench.heartbeat"
"""Unix time in seconds."""
SILENCE_S = 900.0
"""After which a process on another machine counts as dead."""


def heartbeat_tags() -> dict[str, str]:
    """Tags that say that this process is at work on a run now."""
    return {
        HOST_TAG: platform.node(),
        PROCESS_TAG: _process(os.getpid()),
        HEARTBEAT_TAG: str(int(time.time())),
    }


def is_ours(tags: Mapping[str, str]) -> bool:
    """Whether this process wrote these tags."""
    here = (platform.node(), _process(os.getpid()))
    return (tags.get(HOST_TAG), tags.get(PROCESS_TAG)) == here


def is_dead(tags: Mapping[str, str]) -> bool:
    """Whether the process that wrote these tags is gone."""
    told = tags.get(PROCESS_TAG, "")
    number = told.partition(" ")[0]
    if tags.get(HOST_TAG) == platform.node() and number.isdigit():
        return _process(int(number)) != told
    try:
        return time.time() - float(tags.get(HEARTBEAT_TAG, "0")) > SILENCE_S
    except ValueError:
        return True


def _process(number: int) -> str:
    """A process's number and start, or only its number where the system does not tell; or nothing.

    The start is in clock ticks since the machine's own.
    """
    try:
        # The second field is the program's name in brackets, and may hold anything.
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        fields = []
    if fields:
        return "" if fields[0] in "ZX" else f"{number} {fields[19]}"
    try:
        os.kill(number, 0)
    except PermissionError:
        return str(number)
    except OSError:
        return ""
    return str(number)
