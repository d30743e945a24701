"""Pool of warm processes that count many architectures. This side does not import torch."""

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

OnResult = Callable[[CostRequest, Any, str], None]
"""Callback with a request, its result (None on failure) and the error (else empty)."""


def ask_many(
    task: Task,
    requests: Sequence[CostRequest],
    workers: int,
    on_result: OnResult,
    memory: int | None = None,
) -> None:
    """Process all requests, calling `on_result` for each as it completes, never concurrently.

    Each of the `workers` is a single-threaded process that handles requests in forks; a worker that
    dies is replaced. `memory` limits each count, in bytes.
    """
    waiting: queue.SimpleQueue[CostRequest] = queue.SimpleQueue()
    for request in requests:
        waiting.put(request)
    lock = threading.Lock()
    limits = {} if memory is None else {"memory": memory}

    def notify(request: CostRequest, result: Any, error: str) -> None:
        with lock:
            on_result(request, result, error)

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
                notify(request, *_ask(process, request.architecture, question))
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
    """Close a worker's input, at which it exits, and wait for it."""
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
