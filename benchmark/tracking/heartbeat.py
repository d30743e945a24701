"""Heartbeat tags of an MLflow run: which process writes to it, and whether it is alive."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

HOST_TAG = "bench.host"
PROCESS_TAG = "bench.process"
"""Process id and start time, because the system reuses process ids."""
HEARTBEAT_TAG = "bench.heartbeat"
"""Time of the last heartbeat as Unix time in seconds."""
SILENCE_S = 900.0
"""Seconds without a heartbeat after which a process on another machine counts as dead."""


def heartbeat_tags() -> dict[str, str]:
    """Return the tags of a run that this process executes now."""
    return {
        HOST_TAG: platform.node(),
        PROCESS_TAG: _process(os.getpid()),
        HEARTBEAT_TAG: str(int(time.time())),
    }


def is_ours(tags: Mapping[str, str]) -> bool:
    """Return whether this process wrote these tags."""
    here = (platform.node(), _process(os.getpid()))
    return (tags.get(HOST_TAG), tags.get(PROCESS_TAG)) == here


def is_dead(tags: Mapping[str, str]) -> bool:
    """Return whether the process that wrote these tags has ended."""
    process = tags.get(PROCESS_TAG, "")
    number = process.partition(" ")[0]
    if tags.get(HOST_TAG) == platform.node() and number.isdigit():
        return _process(int(number)) != process
    try:
        return time.time() - float(tags.get(HEARTBEAT_TAG, "0")) > SILENCE_S
    except ValueError:
        return True


def _process(number: int) -> str:
    """Return the id and start time of a process, in clock ticks since boot.

    Without `/proc`, only the id; empty if there is no such process.
    """
    try:
        # The second field is the program's name in parentheses and may contain any character.
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
