"""Fork child processes from a server process that has imported torch and timm once.

Importing takes longer than a small run. The server only imports: it computes nothing and does not
initialize CUDA, so that a fork starts like a new interpreter, with its own threads, allocator
settings and environment. Same idea as multiprocessing's start method `forkserver`, which cannot
redirect output or set the environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import logging
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from clothclf.process.command import code_command, die_with_parent

with contextlib.suppress(ImportError):  # only required where processes are forked
    from setproctitle import setproctitle

logger = logging.getLogger(__name__)

PRELOAD = ["timm", "torch._dynamo", "fvcore.nn", "flopth", "clothclf.cost.measure.measuring"]
"""Modules that the server imports; callers add their own with `preload`."""
START_METHOD = "BENCH_START_METHOD"
"""Environment variable: `forkserver` (default on Linux) or `spawn`."""
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd")
"""Present where the driver of a GPU by NVIDIA or AMD is loaded."""
MALLOPT = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_TOP_PAD_": -2, "MALLOC_MMAP_THRESHOLD_": -3}
"""Parameters of mallopt(3) by environment variable, which glibc reads only when it starts."""
MAX_INT = 2**31 - 1
LOOK_EVERY_S = 0.1
READ_EARLY = ("PYTHON", "LD_", "HF_", "TORCH", "TIMM_", "OMP_", "MKL_", "KMP_", "OPENBLAS_")
"""Prefixes of environment variables that Python and libraries read only when they are loaded."""
SET_LATE = ("PYTHONWARNINGS", "OMP_NUM_THREADS", "TORCHINDUCTOR_CACHE_DIR")
"""Those among them that have the same effect in a fork; the last one is set by torch itself."""

_lock = threading.Lock()
_server: ForkServer | None = None


class ForkServer:
    """Connection to a server process. Several processes may share it."""

    def __init__(self, requests: socket.socket, life: int | None = None) -> None:
        """Send requests to this end of a `socket_pair`, to a server with this environment.

        `life` is the end of a pipe that stays open as long as this process lives.
        """
        self.requests = requests
        self.life = life
        self._read = _read_early(os.environ)

    @staticmethod
    def start() -> ForkServer:
        """Start a server, which imports in the background and ends with this process."""
        ours, theirs = socket_pair()
        watched, life = os.pipe()
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
        server.returncode = 0  # nobody waits for it: it ends with this process
        return ForkServer(ours, life)

    def can_fork(self, environment: Mapping[str, str]) -> bool:
        """Whether libraries are loaded as they would be in this environment."""
        return self._read == _read_early(environment)

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
        """Wait for the fork; `pid` is 0 if it failed. Raises ValueError if the server has died."""
        self._status = status
        self._lines = status.makefile("rb")
        self.pid = int(self._lines.readline())
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code; raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._status, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            # Without an answer, the server has been killed, and its children with it.
            self.returncode = int(self._lines.readline() or -signal.SIGKILL)
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
        for _ in range(2):  # again if the server was killed meanwhile
            with _lock:
                server = _connect()
            if not server.can_fork(environment):
                return None
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


def _read_early(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_EARLY) and name not in SET_LATE
    }


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
        if server.life is not None:
            os.close(server.life)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return the ends of a server's connection: for requests, and for `serve`."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def main() -> NoReturn:
    """Import and serve; the arguments are descriptors for `serve`, and modules."""
    requests, connection, life = map(int, sys.argv[1:4])
    imported = threading.Event()
    watcher = threading.Thread(target=_exit_with_parent, args=(life, imported))
    watcher.start()
    for name in json.loads(sys.argv[4]):
        with contextlib.suppress(Exception):  # the child that needs it reports the error
            importlib.import_module(name)
    imported.set()
    watcher.join()  # no thread may run during a fork
    serve(socket.socket(fileno=requests), socket.socket(fileno=connection), life)


def _exit_with_parent(life: int, imported: threading.Event) -> None:
    # Not by prctl: Linux sends its signal when the thread ends that started this process.
    while not imported.is_set():
        if select.select([life], [], [], LOOK_EVERY_S)[0]:
            os._exit(0)


def serve(requests: socket.socket, connection: socket.socket, life: int) -> NoReturn:
    """Fork a child for each request; children send their own requests to `requests`.

    Exits, and its children with it, when the other end of the pipe `life` is closed.
    """
    use(ForkServer(requests))
    warnings.simplefilter("ignore")  # children run with PYTHONWARNINGS=ignore, or do the same
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    # Forks then neither traverse nor copy the objects that exist now.
    gc.collect()
    gc.freeze()
    server = _Server(connection, life)
    while True:
        server.step()


class _Server:
    """The server's side: its children, and the sockets on which their status is awaited."""

    def __init__(self, connection: socket.socket, life: int) -> None:
        self._connection = connection
        self._life = life
        self._children: dict[int, socket.socket] = {}
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno())
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ, self._fork)
        self._selector.register(life, selectors.EVENT_READ, lambda: os._exit(0))
        self._selector.register(self._woken, selectors.EVENT_READ, lambda: self._woken.recv(4096))

    def step(self) -> None:
        for key, _ in self._selector.select():
            key.data()
        for pid in list(self._children):
            self._reap(pid)

    def _fork(self) -> None:
        _, descriptors, _, _ = socket.recv_fds(self._connection, 16, 4)
        status = socket.socket(fileno=descriptors[0])
        with status.makefile("rb") as lines:
            line = lines.readline()
        if not line.endswith(b"\n"):  # who asked has died
            pid = 0
        else:
            parent = os.getpid()
            try:
                pid = os.fork()
            except OSError:  # too many processes
                pid = -1
                self._send(status, 0)
            if pid == 0:
                self._forget()
                status.close()
                _become(json.loads(line), descriptors[1:], parent)
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        if pid > 0:
            self._children[pid] = status
            self._selector.register(status, selectors.EVENT_READ, lambda: self._orphaned(pid))
            self._send(status, pid)
        else:
            status.close()

    def _forget(self) -> None:
        """In a fork: close what belongs to the server and to its other children."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        os.close(self._life)
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
        with contextlib.suppress(OSError):  # who asked has died
            status.sendall(f"{number}\n".encode())


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
