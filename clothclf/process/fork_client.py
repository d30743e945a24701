"""Start child processes as forks of a server process that has imported torch and timm once.

Importing takes longer than a small run. The server (`fork_server`) is started on first use and ends
with this process.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from clothclf.process.command import code_command

logger = logging.getLogger(__name__)

PRELOAD = ["timm", "torch._dynamo", "fvcore.nn", "flopth", "clothclf.cost.measure.measuring"]
"""Modules that the server imports; callers add their own with `preload`."""
START_METHOD = "BENCH_START_METHOD"
"""Environment variable: `forkserver` (default on Linux) or `spawn`."""
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd")
"""Present where the driver of a GPU by NVIDIA or AMD is loaded."""

_lock = threading.Lock()
_server: ForkServer | None = None


class ForkServer:
    """Connection to a server process. Several processes may share it."""

    def __init__(self, requests: socket.socket, keepalive: int | None = None) -> None:
        """Send requests to this end of a `socket_pair`.

        `keepalive` is the end of a pipe that stays open as long as this process lives.
        """
        self.requests = requests
        self.keepalive = keepalive

    @staticmethod
    def start() -> ForkServer:
        """Start a server, which imports in the background and ends with this process."""
        ours, theirs = socket_pair()
        watched, keepalive = os.pipe()
        with theirs, os.fdopen(watched):
            ends = [ours.fileno(), theirs.fileno(), watched]
            code = "from clothclf.process.fork_server import main; main()"
            server = subprocess.Popen(
                code_command(code, *map(str, ends), json.dumps(PRELOAD)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=ends,
                start_new_session=True,
            )
        server.returncode = 0  # not waited for: it ends with this process
        return ForkServer(ours, keepalive)

    def fork(self, request: dict[str, Any], streams: tuple[int, int, int]) -> ForkedProcess | None:
        """Fork a child, or return None if the server has died."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self.requests, [b"fork"], [theirs.fileno(), *streams])
            ours.sendall(json.dumps(request).encode() + b"\n")
            return ForkedProcess(ours)
        except (OSError, ValueError):
            ours.close()
            return None


class ForkedProcess:
    """Child of the server, with the methods of subprocess.Popen that its users need."""

    def __init__(self, status: socket.socket) -> None:
        """Wait for the fork; `pid` is 0 if it was refused. Raises ValueError if the server died."""
        self._status = status
        self._lines = status.makefile("rb")
        self.pid = int(self._lines.readline())
        self.returncode: int | None = None
        self.server_died = False
        """Whether the process ended because its server did."""

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code; raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._status, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            # Without a response, the server has been killed, and its children with it.
            line = self._lines.readline()
            self.server_died = not line
            self.returncode = int(line or -signal.SIGKILL)
            self._lines.close()
            self._status.close()
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        """Send SIGTERM unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)


def preload(*modules: str) -> None:
    """Start the server now, which also imports these modules; does nothing if it has started."""
    with _lock:
        PRELOAD.extend(name for name in modules if name not in PRELOAD)
        if is_supported():
            _connect()


def fork_module(
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    streams: tuple[int, int, int],
) -> ForkedProcess | None:
    """Fork a child that runs a module, or return None if a new interpreter must run it."""
    if not is_supported(environment):
        return None
    request = {
        "module": module,
        "arguments": list(arguments),
        "environment": dict(environment),
        "folder": os.getcwd(),
    }
    with open(os.devnull, "r+b", buffering=0) as null:
        chosen = [null.fileno() if s == subprocess.DEVNULL else s for s in streams]
        for _ in range(2):  # again if the server was killed
            with _lock:
                server = _connect()
            forked = server.fork(request, (chosen[0], chosen[1], chosen[2]))
            if forked is not None and not forked.pid:
                return None
            if forked is not None:
                logger.debug("forked process %d: %s %s", forked.pid, module, arguments)
                return forked
            with _lock:
                _disconnect(server)
    return None


def is_supported(environment: Mapping[str, str] = NO_GPU) -> bool:
    """Whether children are forked: on Linux, unless they may use CUDA or START_METHOD is `spawn`.

    CUDA does not support forks of a process that has used it, as a library could on import.
    """
    if sys.platform != "linux" or os.environ.get(START_METHOD) == "spawn":
        return False
    no_gpu = environment.get("CUDA_VISIBLE_DEVICES") == ""
    return no_gpu or not any(os.path.exists(path) for path in GPU_DRIVERS)


def use(server: ForkServer) -> None:
    """Fork all further children from this server."""
    global _server
    _server = server


def _connect() -> ForkServer:
    global _server
    if _server is None:
        _server = ForkServer.start()
    return _server


def _disconnect(server: ForkServer) -> None:
    global _server
    if _server is server:
        _server = None
        server.requests.close()
        if server.keepalive is not None:
            os.close(server.keepalive)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return the ends of a server's connection: for requests, and for `serve`."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
