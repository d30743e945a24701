"""From what the user asked for to the executor of a study."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from benchmark.engine.executors.base import Executor
from benchmark.engine.executors.local import LocalExecutor, gpus_to_give
from benchmark.engine.executors.memory import MemoryNeeds
from benchmark.engine.executors.ray.cluster import RayOptions
from benchmark.engine.process import Limits
from clothclf.memory import available_memory_bytes


@contextlib.contextmanager
def executor_for(
    limits: Limits,
    workers: int,
    device: str,
    ray: RayOptions | None,
    notify: Callable[[str], None],
) -> Iterator[tuple[Executor, int]]:
    """The executor, for as long as the block lasts, and how many runs it has at a time at first.

    Raises ClusterError where a cluster cannot be used.
    """
    if ray is not None:
        from benchmark.engine.executors.ray.executor import ray_executor

        with ray_executor(ray, limits, device, notify) as cluster:
            yield cluster, cluster.at_a_time()
        return
    yield _local(limits, workers, device), workers


def _local(limits: Limits, workers: int, device: str) -> LocalExecutor:
    if workers == 1:
        return LocalExecutor(limits)
    own_bytes = limits.memory_bytes
    needs = MemoryNeeds(None if own_bytes is None else lambda spec: own_bytes)
    # A GPU that the user has named is the one for all.
    gpus = gpus_to_give() if device in ("auto", "cuda") and limits.processes == 1 else []
    return LocalExecutor(limits, workers, needs, available_memory_bytes(), gpus)
