"""Run `bench` in a process that is forked from one that has made its imports.

Those take longer than a tiny study. The process that is forked from has imported and done nothing
else, and what a command does is seen by nobody after it. The server of which the command forks its
runs is a fork of it too.
"""

from __future__ import annotations

import atexit
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory

from clothclf.process import fork_client, fork_server

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.benchmark.preload"])


def run_forked(
    arguments: tuple[str, ...], folder: Path, variables: Mapping[str, str], timeout_s: float
) -> tuple[int, str, str]:
    """Run a command in a folder, with that environment: its code, output and errors.

    Raises subprocess.TimeoutExpired, like a command in a new interpreter.
    """
    with TemporaryDirectory() as place:
        streams = Path(place, "out"), Path(place, "err")
        process = _context.Process(target=_command, args=(arguments, folder, variables, *streams))
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(arguments), timeout_s)
        out, err = (stream.read_text("utf-8", "surrogateescape") for stream in streams)
    return process.exitcode, out, err


def start_on_terminal(
    arguments: tuple[str, ...], folder: Path, variables: Mapping[str, str], terminal: int
) -> ForkServerProcess:
    """Start a command in a session of its own, on the terminal of that descriptor."""
    with Connection(os.dup(terminal)) as carried:  # which passes its descriptor on
        process = _context.Process(
            target=_command_on_terminal, args=(arguments, folder, variables, carried)
        )
        process.start()
    return process


def _command(
    arguments: tuple[str, ...], folder: Path, variables: Mapping[str, str], out: Path, err: Path
) -> None:
    """In the forked process: become `python -c "…main()"` in the folder."""
    _enter(folder, variables)
    for descriptor, path in ((1, out), (2, err)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    _run(arguments)


def _command_on_terminal(
    arguments: tuple[str, ...], folder: Path, variables: Mapping[str, str], terminal: Connection
) -> None:
    """In the forked process: the same, where the keys of the terminal make signals."""
    for number in (signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _enter(folder, variables)
    os.setsid()
    fcntl.ioctl(terminal.fileno(), termios.TIOCSCTTY, 0)
    for descriptor in range(3):
        os.dup2(terminal.fileno(), descriptor)
    terminal.close()
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    _run(arguments)


def _enter(folder: Path, variables: Mapping[str, str]) -> None:
    """Move to the folder, take the environment, and start the server of child processes."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    added = [part for part in variables.get("PYTHONPATH", "").split(os.pathsep) if part]
    sys.path[:0] = [part for part in added if part not in sys.path]
    _serve_forks()


def _run(arguments: tuple[str, ...]) -> None:
    sys.stdout = os.fdopen(1, "w", 1 if os.isatty(1) else -1, encoding="utf-8", closefd=False)
    sys.stderr = open(  # noqa: SIM115
        2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False
    )
    sys.path.insert(0, "")
    sys.argv = ["-c", *arguments]
    from benchmark.cli import main

    try:
        main()
    finally:
        atexit._run_exitfuncs()


def _serve_forks() -> None:
    """Start the server of the command's child processes, with all its imports made."""
    requests, connection = fork_client.socket_pair()
    watched, keepalive = os.pipe()
    if os.fork() == 0:
        os.close(keepalive)
        os.setsid()
        fork_server.serve(requests, connection, watched)
    connection.close()
    os.close(watched)
    fork_client.use(fork_client.ForkServer(requests, keepalive))
