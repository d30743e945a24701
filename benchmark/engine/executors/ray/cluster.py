"""Join a Ray cluster or start a local one; check address, token and library versions."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmark.engine.executors.base import Resources
from benchmark.engine.executors.ray import versions
from benchmark.engine.executors.ray.ray_errors import error_text
from benchmark.errors import ClusterError
from clothclf.errors import first_line
from clothclf.process.command import module_command

CONNECT_TIMEOUT_S = 5.0
JOIN_TIMEOUT_S = 60.0
"""Seconds to start Ray on a slow machine. An unreachable address is reported earlier."""
REPLY_TIMEOUT_S = 120.0
"""Seconds for every node to start a worker and report its versions."""
MODE, TOKEN, TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
PROBE_CONNECTION = "benchmark.engine.executors.ray.probe_connection"
OPEN = (
    f"{MODE}=disabled: anyone who can reach this Ray cluster's ports can run any code on its nodes"
)


def check_reachable(resources: Resources) -> None:
    """Check within seconds that a cluster can be joined, before anything else is done.

    Raises ClusterError with the reason if not.
    """
    if importlib.util.find_spec("ray") is None:
        raise ClusterError(
            "--executor ray: Ray is not installed: pip install 'bench-architectures[ray]'"
        )
    address = _address(resources)
    if address is None:
        return
    if address.startswith("ray://"):
        raise ClusterError(
            f"--address {address}: run bench on a machine that has joined the cluster (ray start "
            "--address=HOST:PORT), and give HOST:PORT or auto"
        )
    if not _is_open() and not _has_token():
        raise ClusterError(
            f"--address {address}: no token for this cluster; set {TOKEN}, set {TOKEN_FILE} to a "
            "file with it, or write it to ~/.ray/auth_token (`ray get-auth-token` prints it on "
            "the cluster)"
        )
    if address != "auto":
        _connect(address)


@contextlib.contextmanager
def joined(resources: Resources, notify: Callable[[str], None]) -> Iterator[None]:
    """Join a cluster within the context; raises ClusterError if that fails."""
    check_reachable(resources)
    address = _address(resources)
    os.environ.setdefault(MODE, "token")
    if _is_open():
        notify(OPEN)
    if address is not None:
        _probe_connection(address)
    import ray

    with _own_signal_handlers():
        try:
            ray.init(
                address=address or "local",
                job_config=_without_current_folder(),
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # of many types, none of which should show a traceback
            raise ClusterError(f"--executor ray: {first_line(error)}") from None
    if address is None:
        with contextlib.suppress(OSError):  # Ray creates the token readable for others
            _token_file().chmod(0o600)
    try:
        _demand_same_libraries()
        yield
    finally:
        ray.shutdown()


def _without_current_folder() -> Any:
    """Return a job config that keeps the current folder out of `sys.path` of Ray's workers."""
    from ray.job_config import JobConfig

    config = JobConfig()
    # Ray has no setting for it: it only omits the folder if it sends another one to the workers.
    config._runtime_env_has_working_dir = lambda: True
    return config


def _address(resources: Resources) -> str | None:
    address = resources.address or os.environ.get("RAY_ADDRESS") or "local"
    return None if address == "local" else address


def _is_open() -> bool:
    """Return whether the user has disabled tokens for the cluster."""
    return os.environ.get(MODE, "").lower() == "disabled"


def _has_token() -> bool:
    return bool(os.environ.get(TOKEN)) or _token_file().is_file()


def _token_file() -> Path:
    path = os.environ.get(TOKEN_FILE)
    return Path(path) if path else Path.home() / ".ray" / "auth_token"


def _probe_connection(address: str) -> None:
    """Join and leave the cluster in another process; raises ClusterError if that fails."""
    try:
        child = subprocess.run(
            module_command(PROBE_CONNECTION, address),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=JOIN_TIMEOUT_S,
            check=False,
        )
        # Ray may print other lines around the result.
        error = json.loads(next(x for x in child.stdout.splitlines() if x.startswith("{")))
    except subprocess.TimeoutExpired:
        raise ClusterError(_not_let_in(address)) from None
    except (StopIteration, ValueError):
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise ClusterError(f"--address {address}: Ray could not join the cluster: {last}") from None
    if error:
        raise ClusterError(_why_not(address, error["kind"], error["text"]))


def _connect(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise ClusterError(f"--address {address}: give HOST:PORT, or auto")
    try:
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"--address {address}: no Ray cluster responds ({first_line(error)}); check that its "
            "head node is running (ray start --head) and reachable from this machine"
        ) from None


def _why_not(address: str, kind: str, text: str) -> str:
    line = " ".join(text.split())
    if kind == "ConnectionError" and address == "auto":
        return "--address auto: Ray is not running on this machine; join a cluster with ray start"
    if kind == "AuthenticationError" or line.startswith("Failed to connect to Ray cluster"):
        return _not_let_in(address)
    if "ersion mismatch" in line:
        return f"--address {address}: {line}; install the same versions on all machines"
    return f"--address {address}: {line[:300]}"


def _not_let_in(address: str) -> str:
    return (
        f"--address {address}: no Ray cluster there grants access; check that the port is Ray's "
        f"(6379) and the token is the cluster's ({TOKEN}, {TOKEN_FILE} or ~/.ray/auth_token)"
    )


@contextlib.contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Restore our signal handlers, because Ray installs its own for SIGTERM."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def alive_nodes() -> list[dict[str, Any]]:
    """Return the nodes of the cluster that can execute tasks."""
    import ray

    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]


def capacity(nodes: list[dict[str, Any]], cpus: float, gpus: float) -> int:
    """Return how many runs with these resources fit on otherwise idle nodes."""
    return sum(
        min(
            int(node["Resources"].get("CPU", 0) / cpus + 1e-9),
            int(node["Resources"].get("GPU", 0) / gpus + 1e-9) if gpus else sys.maxsize,
        )
        for node in nodes
    )


def _demand_same_libraries() -> None:
    """Raise ClusterError with one line per node whose library versions differ or are unknown."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    find = versions.finder()
    here = find()
    errors = []
    nodes = {}
    for node in alive_nodes():
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        remote = ray.remote(num_cpus=0, scheduling_strategy=there, max_retries=0)(find)
        nodes[remote.remote()] = f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"
    ready, silent = ray.wait(list(nodes), num_returns=len(nodes), timeout=REPLY_TIMEOUT_S)
    for reply in ready:
        try:
            errors.append(versions.difference(here, ray.get(reply), nodes[reply]))
        except Exception as error:
            errors.append(f"node {nodes[reply]} cannot run tasks: {error_text(error)}")
    errors += [f"node {nodes[reply]} does not respond" for reply in silent]
    messages = sorted(error for error in errors if error)
    if messages:
        raise ClusterError("\n".join(f"--executor ray: {error}" for error in messages))
