"""Start helper processes that end when the one that started them is gone, however that ended.

    python -m clothclf.orphans PARENT MODULE [ARGUMENT …]

runs a module as `python -m MODULE` would, but not longer than the process PARENT. It sees to that
before anything large is imported: a process that is still starting would outlive its parent.
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
"""Of prctl(2) on Linux."""
LOOK_EVERY_S = 1.0


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module for as long as this process lives."""
    return [sys.executable, "-m", "clothclf.orphans", str(os.getpid()), module, *arguments]


def die_with_parent(parent: int) -> None:
    """Be killed when the parent, of that id, dies: at once on Linux, within a second elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between
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
