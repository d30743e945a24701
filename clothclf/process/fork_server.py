"""Server process that imports torch and timm once and forks child processes on request.

The server only imports: it computes nothing and does not initialize CUDA, so that a fork starts
like a new interpreter, with its own threads, allocator settings and environment. Same idea as
multiprocessing's start method `forkserver`, which cannot redirect output or set the environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import selectors
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from setproctitle import setproctitle

from clothclf.process.command import die_with_parent
from clothclf.process.fork_client import ForkServer, use

MALLOPT = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_TOP_PAD_": -2, "MALLOC_MMAP_THRESHOLD_": -3}
"""Parameters of mallopt(3) by environment variable, which glibc reads only when it starts."""
MAX_INT = 2**31 - 1
POLL_INTERVAL_S = 0.1
READ_EARLY = ("PYTHON", "LD_", "HF_", "TORCH", "TIMM_", "OMP_", "MKL_", "KMP_", "OPENBLAS_")
"""Prefixes of environment variables that Python and libraries read only when they are loaded."""
SET_AFTER_FORK = ("PYTHONWARNINGS", "OMP_NUM_THREADS")
"""Those among them that take effect in a fork, too."""


def main() -> NoReturn:
    """Import and serve; the arguments are descriptors for `serve`, and modules."""
    requests, connection, keepalive = map(int, sys.argv[1:4])
    before = dict(os.environ)
    imported = threading.Event()
    watcher = threading.Thread(target=_exit_with_parent, args=(keepalive, imported))
    watcher.start()
    for name in json.loads(sys.argv[4]):
        with contextlib.suppress(Exception):  # the child that needs it reports the error
            importlib.import_module(name)
    imported.set()
    watcher.join()  # no thread may run during a fork
    serve(socket.socket(fileno=requests), socket.socket(fileno=connection), keepalive, before)


def _exit_with_parent(keepalive: int, imported: threading.Event) -> None:
    # Not by prctl: Linux sends its signal when the thread ends that started this process.
    while not imported.is_set():
        if select.select([keepalive], [], [], POLL_INTERVAL_S)[0]:
            os._exit(0)


def serve(
    requests: socket.socket,
    connection: socket.socket,
    keepalive: int,
    before: Mapping[str, str] = os.environ,
) -> NoReturn:
    """Fork a child for each request; children send their own requests to `requests`.

    Exits, and its children with it, when the other end of the pipe `keepalive` is closed. `before`
    is the environment before the imports, which set variables themselves.
    """
    use(ForkServer(requests))
    warnings.simplefilter("ignore")  # children run with PYTHONWARNINGS=ignore, or do the same
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    # Forks then neither traverse nor copy the objects that exist now.
    gc.collect()
    gc.freeze()
    server = _Server(connection, keepalive, before)
    while True:
        server.step()


class _Server:
    """The server's side: its children, and the sockets on which their status is awaited."""

    def __init__(
        self, connection: socket.socket, keepalive: int, before: Mapping[str, str]
    ) -> None:
        self._before, self._now = _read_early(before), _read_early(os.environ)
        self._connection = connection
        self._keepalive = keepalive
        self._children: dict[int, socket.socket] = {}
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno())
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ, self._fork)
        self._selector.register(keepalive, selectors.EVENT_READ, lambda: os._exit(0))
        self._selector.register(self._woken, selectors.EVENT_READ, lambda: self._woken.recv(4096))

    def step(self) -> None:
        """Wait for events and handle them; reap children that have ended."""
        for key, _ in self._selector.select():
            key.data()
        for pid in list(self._children):
            self._reap(pid)

    def _fork(self) -> None:
        _, descriptors, _, _ = socket.recv_fds(self._connection, 16, 4)
        status = socket.socket(fileno=descriptors[0])
        with status.makefile("rb") as lines:
            line = lines.readline()
        pid = 0
        if line.endswith(b"\n"):  # else the process that sent it has died
            pid = self._fork_for(json.loads(line), status, descriptors[1:])
            self._send(status, pid)
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        if pid:
            self._children[pid] = status
            self._selector.register(status, selectors.EVENT_READ, lambda: self._orphaned(pid))
        else:
            status.close()

    def _fork_for(
        self, request: dict[str, Any], status: socket.socket, streams: Sequence[int]
    ) -> int:
        """Return the child's process ID, or 0 if the request needs a new interpreter."""
        requested = _read_early(request["environment"])
        if any(
            requested.get(name) not in (self._before.get(name), self._now.get(name))
            for name in {*requested, *self._before}
        ):
            return 0
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError:  # too many processes
            return 0
        if pid == 0:
            self._forget()
            status.close()
            _become(request, streams, parent)
        return pid

    def _forget(self) -> None:
        """In a fork: close what belongs to the server and to its other children."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        os.close(self._keepalive)
        for end in (self._connection, self._woken, self._wake, *self._children.values()):
            end.close()

    def _orphaned(self, pid: int) -> None:
        """Kill a child if the process that started it has died."""
        self._selector.unregister(self._children[pid])
        _kill_group(pid)

    def _reap(self, pid: int) -> None:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
        _kill_group(pid)  # while its number is not given to another process
        _, status = os.waitpid(pid, 0)
        listener = self._children.pop(pid)
        with contextlib.suppress(KeyError):
            self._selector.unregister(listener)
        self._send(listener, os.waitstatus_to_exitcode(status))
        listener.close()

    @staticmethod
    def _send(status: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):  # the requester has died
            status.sendall(f"{number}\n".encode())


def _read_early(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_EARLY) and name not in SET_AFTER_FORK
    }


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # the group is absent until the child has made it
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _become(request: dict[str, Any], streams: Sequence[int], parent: int) -> NoReturn:
    """In a fork: run the module as a new interpreter would, and exit."""
    code = 1
    try:
        die_with_parent(parent)
        os.setsid()
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
            os.close(stream)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.chdir(request["folder"])
        sys.argv = [request["module"], *request["arguments"]]
        # Before the environment changes, which is how it finds the memory of the title.
        setproctitle(" ".join(["python -m", *sys.argv]))
        _set_environment(request["environment"])
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        # The shutdown of an interpreter takes long and frees only what the system frees as well.
        os._exit(code)


def _set_environment(environment: dict[str, str]) -> None:
    """Set the environment, and what libraries read from it only when they are loaded."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ.clear()
    os.environ.update(environment)
    for name, parameter in MALLOPT.items():
        if name in environment:
            with contextlib.suppress(OSError, AttributeError):  # a C library without mallopt
                ctypes.CDLL(None).mallopt(parameter, min(int(environment[name]), MAX_INT))
    threads = environment.get("OMP_NUM_THREADS")
    torch = sys.modules.get("torch")
    if torch is not None and threads != before:
        torch.set_num_threads(int(threads or os.cpu_count() or 1))
