"""Count many architectures in concurrent child processes. This side does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from clothclf.cost.count import CostRequest, Task, count_in_child
from clothclf.errors import CostError

OnResult = Callable[[CostRequest, Any, str], None]
"""Callback with a request, its result (None on failure) and the error (else empty)."""


def count_many_in_children(
    task: Task,
    requests: Sequence[CostRequest],
    workers: int,
    on_result: OnResult,
    memory: int | None = None,
) -> None:
    """Process all requests, calling `on_result` for each as it completes, never concurrently.

    Each count is a single-threaded child process, up to `workers` at a time. `memory` limits each
    count, in bytes.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        counts = {pool.submit(count_in_child, task, item, memory=memory): item for item in requests}
        for count in as_completed(counts):
            try:
                on_result(counts[count], count.result(), "")
            except CostError as error:
                on_result(counts[count], None, str(error))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
