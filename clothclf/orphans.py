"""Start helper processes that end with their parent, however the parent ends.

    python -m clothclf.orphans PARENT MODULE [ARGUMENT …]

runs a module like `python -m MODULE`, but ends it when the process PARENT ends. This is set up
before any large import, since a process that is still starting could outlive its parent.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
"""Option of prctl(2) on Linux."""
LOOK_EVERY_S = 1.0


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module until this process ends."""
    return [sys.executable, "-m", "clothclf.orphans", str(os.getpid()), module, *arguments]


def die_with_parent(parent: int) -> None:
    """Kill this process when its parent dies: immediately on Linux, within a second elsewhere.

    `parent` is the parent's process ID.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before prctl took effect
            os.kill(os.getpid(), signal.SIGKILL)
        return
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
