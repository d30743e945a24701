"""Ask many counting questions of a few warm processes; this side imports no torch."""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

from clothclf.cost.count import (
    CostRequest,
    Task,
    child_command,
    child_environment,
    decode_answer,
    encode_question,
)
from clothclf.errors import CostError

Answered = Callable[[CostRequest, Any, str], None]
"""Called with a request, its answer's plain values, and why there is none (else empty)."""


def ask_many(
    task: Task,
    requests: Sequence[CostRequest],
    workers: int,
    on_answer: Answered,
    memory: int | None = None,
) -> None:
    """Ask for each request; `on_answer` is told as answers come, from one thread at a time.

    Each of the `workers` is a process of one thread that answers in forks; one that dies is
    replaced. `memory` is how many bytes a count may take.
    """
    waiting: queue.SimpleQueue[CostRequest] = queue.SimpleQueue()
    for request in requests:
        waiting.put(request)
    lock = threading.Lock()
    limits = {} if memory is None else {"memory": memory}

    def keep(request: CostRequest, answer: Any, fault: str) -> None:
        with lock:
            on_answer(request, answer, fault)

    def work() -> None:
        process: subprocess.Popen[str] | None = None
        try:
            while True:
                try:
                    request = waiting.get_nowait()
                except queue.Empty:
                    return
                if process is None or process.poll() is not None:
                    process = _start()
                question = encode_question(task, request, **limits)
                keep(request, *_ask(process, request.architecture, question))
        finally:
            if process is not None:
                _stop(process)

    pool = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        child_command("--serve"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=child_environment(),
    )


def _stop(process: subprocess.Popen[str]) -> None:
    """Let a worker end by itself, as it does when no more questions can come."""
    if process.stdin:
        process.stdin.close()
    process.wait()
    if process.stdout:
        process.stdout.close()


def _ask(process: subprocess.Popen[str], architecture: str, question: str) -> tuple[Any, str]:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the worker was started without pipes")
    try:
        process.stdin.write(question)
        process.stdin.flush()
        line = process.stdout.readline()
        exit_code = 0 if line else process.wait()
        return decode_answer(architecture, line, exit_code), ""
    except BrokenPipeError:
        return None, f"{architecture}: the counting process had ended"
    except CostError as error:
        return None, str(error)
