"""Command lines for child processes that never import from the current folder.

Processes started with `module_command` also end when their parent ends, for any reason.
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
"""Option of prctl(2) on Linux that sends a signal when the parent dies."""
POLL_INTERVAL_S = 1.0
SAFE_PATH = "import sys; sys.path[:1] == [''] and sys.path.pop(0)"
"""Same effect as Python's option -P, which 3.10 lacks. -m and -c put the current folder first on
the path, where a file `random.py` would shadow Python's own module."""


def code_command(code: str, *arguments: str) -> list[str]:
    """Return the command that runs Python code with `arguments` in `sys.argv[1:]`."""
    return [sys.executable, "-c", f"{SAFE_PATH}\n{code}", *arguments]


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module in a new interpreter that ends with this process."""
    code = "from clothclf.process.command import main; main()"
    return code_command(code, str(os.getpid()), module, *arguments)


def main() -> None:
    """Run the module named in `sys.argv` like `python -m`; called by `module_command`."""
    # Set up before any large import: a process that is still starting could outlive its parent.
    die_with_parent(int(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def signal_name(number: int) -> str:
    """Return the name of the signal that ended a process."""
    try:
        return signal.Signals(number).name
    except ValueError:  # Python names only the first and the last of the real-time signals
        return f"signal {number}"


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
        time.sleep(POLL_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGKILL)
