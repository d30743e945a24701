"""Start MLflow's UI on a study's store."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmark.config.credentials import take_credentials
from benchmark.config.study import StudySettings
from benchmark.errors import TrackingError
from benchmark.runs.root import open_store, tracking_uri
from benchmark.tracking.comparison_view import address
from benchmark.tracking.mlflow_store import MlflowStore
from benchmark.tracking.sqlite_store import PREFIX
from clothclf.process.command import module_command

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Otherwise the server starts seven more processes for jobs of language models.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


STOP_TIMEOUT_S = 10.0
"""Seconds to wait for the server to stop before it is killed."""
CHECK_INTERVAL_S = 0.2


def serve(study: StudySettings, host: str, port: int) -> None:
    """Serve MLflow's UI until interrupted; print its URLs once the server responds.

    For a remote store, only print the URL, because the server has its own UI. Raises TrackingError
    if the port cannot be used or the server fails, and KeyboardInterrupt after Ctrl-C, SIGTERM or
    SIGHUP, when the server and all of its processes have ended.
    """
    uri = take_credentials(tracking_uri(study))
    remote = uri.startswith("http")
    if not remote:
        _check_port(host, port)
    # Opening the store here creates the database before the server's processes race to do so.
    store = MlflowStore(uri, study.study, open_store(study))
    store.prepare_view()
    if remote:
        print(address(store.shown_uri, store.experiment_id), flush=True)
        return
    options = ("--host", host, "--port", str(port), "--workers", "1")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    # The server's processes import from their working directory, so use an empty one.
    with tempfile.TemporaryDirectory(prefix="bench-ui-", ignore_cleanup_errors=True) as empty:
        # Start a new session, so that all of the server's processes can be stopped together. Its
        # messages go to standard error, because standard output is only for the URLs.
        server = subprocess.Popen(
            module_command("mlflow", "ui", *options),
            env=_environment(uri),
            cwd=empty,
            stdout=sys.stderr,
            start_new_session=True,
        )
        try:
            answered = _responds(server, host, port)
            if answered:
                base = f"http://{host}:{port}"
                page = address(base, store.experiment_id)
                print(f"{page}  (press Ctrl-C to stop)", flush=True)
                print(f"Table: {address(base, store.experiment_id, table=True)}", flush=True)
            code = server.wait()
        except KeyboardInterrupt:
            raise KeyboardInterrupt("The MLflow UI has stopped.") from None
        finally:
            _stop(server)
    if code or not answered:
        raise TrackingError(f"MLflow's server ended with code {code}; see its own messages above")


def _environment(uri: str) -> dict[str, str]:
    """Return the server's environment, with relative paths resolved from the current folder."""
    uploads = str(Path("mlartifacts").absolute())
    # Not an option: a database URI may contain a password, and command lines are public.
    return {
        **QUIET,
        "MLFLOW_ARTIFACTS_DESTINATION": uploads,
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": _absolute(uri),
    }


def _absolute(uri: str) -> str:
    """Return a store's URI, with an absolute path if it is a file or folder."""
    for start in (PREFIX, "file://", "file:"):
        if uri.startswith(start):
            return start + str(Path(uri.removeprefix(start)).absolute())
    return str(Path(uri).absolute()) if Path(uri).exists() else uri


def _check_port(host: str, port: int) -> None:
    """Raise TrackingError if the port is in use or cannot be bound."""
    try:
        (family, kind, *_, index), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind) as probe:
            # As the server does: connections of an earlier server may still be closing.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(index)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            free = port + 1 if port < 65535 else port - 1
            raise TrackingError(
                f"--port {port}: is used by another program on {host}; try --port {free}"
            ) from None
        raise TrackingError(
            f"--host {host} --port {port}: cannot listen: {error.strerror}"
        ) from None


def _responds(server: subprocess.Popen[bytes], host: str, port: int) -> bool:
    """Wait until the server accepts connections; return False if it ends first."""
    while server.poll() is None:
        try:
            with socket.create_connection((host, port), timeout=1):
                return True
        except OSError:
            time.sleep(CHECK_INTERVAL_S)
    return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Stop the server's processes gracefully, and kill those that remain."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_TIMEOUT_S)
