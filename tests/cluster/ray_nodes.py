"""A Ray cluster of several nodes on this machine, in a network namespace of its own.

Ray listens on all interfaces and runs what it is sent: here nobody can reach it. All processes of
the namespace die with the one that holds it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.benchmark.conftest import heed_signals

HEAD_PORT = 6379
ADDRESS = f"127.0.0.1:{HEAD_PORT}"
RAY = str(Path(sys.executable).with_name("ray"))
BENCH = str(Path(sys.executable).with_name("bench"))
NEEDED = ("unshare", "nsenter", "setpriv", "ip")
MARK = "BENCH_TEST_NODE"
OBJECT_STORE_BYTES = 80 * 2**20

Done = subprocess.CompletedProcess[str]


@dataclass
class Cluster:
    """Its nodes are numbered; node 0 is the head."""

    holder: int
    place: Path
    environment: dict[str, str]
    joined: list[int] = field(default_factory=list)

    def run(self, *command: str, check: bool = True, **changes: str) -> Done:
        """Run a command within the namespace, to its end."""
        return subprocess.run(
            [*self._within(), *command],
            env={**self.environment, **changes},
            cwd=self.place,
            capture_output=True,
            text=True,
            check=check,
            timeout=1800,
        )

    def begin(self, *command: str, **changes: str) -> subprocess.Popen[str]:
        """Start a command within the namespace."""
        return subprocess.Popen(
            [*self._within(), *command],
            env={**self.environment, **changes},
            cwd=self.place,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=heed_signals,
        )

    def bench(self, *arguments: str, check: bool = True, **changes: str) -> Done:
        """`bench`, as a user of the head's machine runs it."""
        return self.run(BENCH, *arguments, check=check, **changes)

    def start_node(
        self, cpus: int, hide: Path | None = None, options: Sequence[str] = (), **changes: str
    ) -> int:
        """Add a node; return its number.

        `hide` is a folder that it sees as empty; `options` are of `ray start`, and `changes`
        variables of its environment.
        """
        number = len(self.joined)
        self.joined.append(number)
        where = (
            ["--head", f"--port={HEAD_PORT}", "--include-dashboard=false"]
            if number == 0
            else [f"--address={ADDRESS}"]
        )
        folder = self.place / f"node{number}"
        hiding = 'mount -t tmpfs none "$0" && exec "$@"'
        apart = ["unshare", "--mount", "sh", "-c", hiding, str(hide)] if hide else []
        self.run(
            *apart, RAY, "start", *where, f"--num-cpus={cpus}",
            "--node-ip-address=127.0.0.1",
            f"--object-store-memory={OBJECT_STORE_BYTES}", "--disable-usage-stats", *options,
            **{MARK: str(number), "BENCH_NODE_FOLDER": str(folder), **changes},
        )  # fmt: skip
        return number

    def kill_node(self, number: int) -> None:
        """End all processes of a node as a power cut would."""
        for process in self.processes(number):
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)

    def processes(self, number: int) -> list[psutil.Process]:
        """All processes that a node has started."""
        actual = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                result = process.environ()
                if (
                    result.get(MARK) == str(number)
                    and result.get("HOME") == self.environment["HOME"]
                ):
                    actual.append(process)
        return actual

    def _within(self) -> list[str]:
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        target = str(self.holder)
        return [
            "nsenter",
            "--target",
            target,
            *user,
            "--net",
            "--pid",
            "--mount",
            f"--wdns={self.place}",
        ]


@contextlib.contextmanager
def cluster(*cpus: int, **changes: str) -> Iterator[Cluster]:
    """Nodes with so many CPUs each; skips the test where the system gives no namespace."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"a network of the test's own needs {' and '.join(missing)}")
    pytest.importorskip("ray")
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    holder = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL",
         "unshare", *user, "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
         "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    # Paths of Ray's sockets must be short.
    place = Path(tempfile.mkdtemp(prefix="bench-ray-", dir="/tmp"))
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != "up\n":
            pytest.skip("the system gives no network namespace")
        (child,) = psutil.Process(holder.pid).children()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "HOME": str(place),
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_TMPDIR": str(place),
            "RAY_DISABLE_IMPORT_WARNING": "1",
            **changes,
        }
        created = Cluster(child.pid, place, environment)
        for count in cpus:
            created.start_node(count)
        yield created
    finally:
        holder.kill()
        holder.wait()
        _wait_for_empty(place)
        shutil.rmtree(place, ignore_errors=True)


def _wait_for_empty(place: Path) -> None:
    """The namespace's processes are killed by the system; that takes a moment."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        left = False
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                left = left or process.environ().get("HOME") == str(place)
        if not left:
            return
        time.sleep(0.1)
