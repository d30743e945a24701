"""Start Python modules in child processes, which end with this process at the latest.

On Linux, they are forked from a process that has imported torch and timm already; elsewhere, and
with BENCH_START_METHOD=spawn, each is a new interpreter.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clothclf.process.command import module_command, signal_name
from clothclf.process.fork_client import ForkedProcess, fork_module

Process = subprocess.Popen[bytes] | ForkedProcess
_CAUSES = {
    "SIGKILL": "the system may have run out of memory",
    "SIGILL": "the processor lacks an instruction that a library uses",
}
"""Usual causes of the signals that end a child process."""


@dataclass(frozen=True)
class Completed:
    """Exit code and output of a child process; a negative code is the number of a signal."""

    returncode: int
    stdout: str
    stderr: str


class ChildError(Exception):
    """A child process gave no result. The message says why in one line."""


def start_module(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
) -> Process:
    """Run a module like `python -m`, in a new session, so that Ctrl-C does not reach it.

    `stdin`, `stdout` and `stderr` are file descriptors or subprocess.DEVNULL.
    """
    forked = fork_module(module, arguments, environment, (stdin, stdout, stderr))
    if forked is not None:
        return forked
    return subprocess.Popen(
        module_command(module, *arguments),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment,
        start_new_session=True,
    )


def run_module(
    module: str, *arguments: str, stdin: str, environment: Mapping[str, str], timeout_s: float
) -> Completed:
    """Run a module to its end, again if it ended with its server.

    Raises subprocess.TimeoutExpired after killing it.
    """
    for _ in range(2):
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
            files[0].write(stdin.encode())
            files[0].seek(0)
            streams = [file.fileno() for file in files]
            process = start_module(
                module,
                *arguments,
                environment=environment,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
            )
            try:
                code = process.wait(timeout_s)
            except BaseException:  # a timeout, Ctrl-C
                kill_group(process)
                raise
            for file in files[1:]:
                file.seek(0)
            out, error = (file.read().decode(errors="replace") for file in files[1:])
        if not ended_with_server(process):
            break
    return Completed(code, out, error)


def request_result(
    module: str,
    request: Mapping[str, Any],
    doing: str,
    *,
    environment: Mapping[str, str],
    timeout_s: float,
) -> dict[str, Any]:
    """Send a request to a module as JSON on its standard input, and return the response.

    `doing`, such as `counting`, names the process in messages. Raises ChildError if the process
    dies, exceeds `timeout_s`, or responds with an `error`.
    """
    try:
        child = run_module(
            module, stdin=json.dumps(request), environment=environment, timeout_s=timeout_s
        )
    except subprocess.TimeoutExpired:
        raise ChildError(f"{doing} took longer than {timeout_s:g} seconds") from None
    return read_response(child, doing)


def read_response(child: Completed, doing: str) -> dict[str, Any]:
    """Return the response of a process that has ended; raises ChildError."""
    try:
        response: dict[str, Any] = json.loads(child.stdout)
    except ValueError:
        raise ChildError(_describe_death(child, doing)) from None
    if "error" in response:
        raise ChildError(str(response["error"]))
    return response


def _describe_death(child: Completed, doing: str) -> str:
    """Describe why a process gave no result; negative exit codes are signals."""
    if child.returncode < 0:
        name = signal_name(-child.returncode)
        why = _CAUSES.get(name, "")
        return f"the {doing} process was killed by {name}{why and f'; {why}'}"
    last = (child.stderr.strip().splitlines() or ["no message"])[-1]
    return f"the {doing} process ended with exit code {child.returncode} without a result: {last}"


def ended_with_server(process: Process) -> bool:
    """Return whether a process that has been waited for ended because its server was killed."""
    return isinstance(process, ForkedProcess) and process.server_died


def kill_group(process: Process) -> None:
    """Kill a child and all processes that it has started, and wait for it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
