"""Run `bench` in a process that is forked from one that has made its imports.

Those take longer than a tiny study. The process that is forked from has imported and done nothing
else, and what a command does is seen by nobody after it. The server of which the command forks its
runs is a fork of it too.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
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


def _command(
    arguments: tuple[str, ...], folder: Path, variables: Mapping[str, str], out: Path, err: Path
) -> None:
    """In the forked process: become `python -c "…main()"` in the folder."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    _serve_forks()
    for descriptor, path in ((1, out), (2, err)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
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
