"""Execute runs on the nodes of a Ray cluster; each run is a task with a share of a node."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmark.engine.executors.base import Executor, Resources, RunAtWork, one_process_per_gpu
from benchmark.engine.executors.ray import node, versions
from benchmark.engine.executors.ray.bundle import FileRefs, Message, RunBundle, make_bundle
from benchmark.engine.executors.ray.cluster import alive_nodes, capacity, check_reachable, joined
from benchmark.engine.executors.ray.ray_run import RayRun, Task
from benchmark.engine.process import Limits
from benchmark.errors import ClusterError
from benchmark.runs.events import FREE_WORKER
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from clothclf.errors import SettingsError

LOOKED_AT_EVERY_S = 2.0
AHEAD = 4
"""Maximum number of unread messages of a node, which limits its memory."""
MAX_RUNS = 10_000
"""Maximum number of concurrent runs that wait for the actor of stop requests."""


class RayExecutor:
    """Executes runs on a cluster that this process has joined."""

    measures_at_once = True

    def __init__(self, resources: Resources, limits: Limits, device: str) -> None:
        """Apply `limits` to each run; `device` is that of the study.

        Raises ClusterError if no node has the resources for a run.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._max_runs = resources.workers
        self._cpus = cpus_per_run(resources)
        self._gpus = _gpus_per_run(resources, device)
        threads = max(1, int(self._cpus))
        self._limits = dataclasses.replace(limits, threads=threads)
        self._looked_at, self._capacity = 0.0, 0
        if not self.capacity():
            raise ClusterError(_no_resources(self._cpus, self._gpus))
        self._versions = versions.finder()()
        self._home = ray.get_runtime_context().get_node_id()
        self._file_refs = FileRefs()
        here = NodeAffinitySchedulingStrategy(self._home, soft=False)
        stop_signal = ray.remote(num_cpus=0, max_concurrency=MAX_RUNS, scheduling_strategy=here)
        self._stop_signal: Any = stop_signal(node.StopSignal).remote()
        self._task: Any = ray.remote(
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            scheduling_strategy="SPREAD",  # runs on the same node slow each other down
            max_retries=0,  # we retry lost runs ourselves and notify the user
            num_returns="streaming",
            _generator_backpressure_num_objects=AHEAD,
        )(node.run_task)

    def capacity(self) -> int:
        """Return the number of runs that the cluster currently has room for."""
        now = time.monotonic()
        if not self._capacity or now - self._looked_at > LOOKED_AT_EVERY_S:
            self._looked_at = now
            self._capacity = capacity(alive_nodes(), self._cpus, self._gpus)
        return self._capacity

    def at_a_time(self) -> int:
        """Return the maximum number of running and waiting runs; one may always wait."""
        return self._max_runs or max(1, self.capacity())

    def waits_for(self, spec: RunSpec, running: int) -> str:
        """Return nothing if a node can probably start the run immediately."""
        return "" if running < self.at_a_time() else FREE_WORKER

    def start(self, spec: RunSpec, folder: RunFolder, measure: bool) -> RayRun:
        """Submit the run. It is measured on its node, and marked if it shares the node."""
        return RayRun(spec, folder, functools.partial(self._submit, spec, folder))

    def ended(self, run: RunAtWork) -> None:
        """Do nothing: Ray frees the resources of the run."""

    def _submit(self, spec: RunSpec, folder: RunFolder, attempt: int) -> Task:
        import ray

        pixels, weights, small, large = make_bundle(spec, folder, self._file_refs)
        bundle = RunBundle(
            run=f"{spec.run_id}-{self._home[:8]}-{attempt}",
            spec=spec.model_dump_json(),
            pixels=pixels,
            weights=weights,
            small=small,
            large=large,
            limits=self._limits,
            uses_gpus=self._gpus > 0,
            versions=self._versions,
            home=self._home,
        )
        replies = self._task.remote(bundle, self._stop_signal)

        def messages() -> Iterator[Message]:
            for reply in replies:
                yield ray.get(reply)

        def cancel(insist: bool) -> None:
            with contextlib.suppress(Exception):  # it may have ended already
                ray.cancel(replies, force=insist)

        request_stop = functools.partial(self._stop_signal.set.remote, bundle.run)
        return Task(messages(), request_stop, cancel)


def check_resources(resources: Resources, device: str) -> int:
    """Return the number of processes per run: one for each of its GPUs.

    Raises ClusterError if there is no cluster at the address, and SettingsError if the options are
    contradictory.
    """
    check_reachable(resources)
    gpus, processes = resources.gpus_per_run or 0.0, resources.processes_per_run
    if gpus > 1 and gpus != int(gpus):
        raise SettingsError(f"--gpus-per-run {gpus:g}: give a whole number, or a fraction below 1")
    if gpus >= 1:
        return one_process_per_gpu(gpus, processes)
    if processes > max(1, cpus_per_run(resources)):
        raise SettingsError(
            f"--processes-per-run {processes}: each process needs a CPU; set --cpus-per-run "
            f"{processes}"
        )
    return processes


@contextlib.contextmanager
def open_executor(
    resources: Resources, limits: Limits, device: str, notify: Callable[[str], None]
) -> Iterator[tuple[Executor, int]]:
    """Join the cluster within the context; see `base.ExecutorModule`. Raises ClusterError."""
    if device not in ("auto", "cpu", "cuda"):
        raise ClusterError(
            f"device: {device} with --executor ray: Ray chooses the GPU; set device to cuda, auto "
            "or cpu"
        )
    with joined(resources, notify):
        executor = RayExecutor(resources, limits, device)
        yield executor, executor.at_a_time()


def cpus_per_run(resources: Resources) -> float:
    """Return the CPUs per run [default: 1]."""
    return resources.cpus_per_run or 1.0


def _gpus_per_run(resources: Resources, device: str) -> float:
    if resources.gpus_per_run is not None:
        return resources.gpus_per_run
    has_gpus = any(node["Resources"].get("GPU", 0) for node in alive_nodes())
    return 1.0 if device == "cuda" or (device == "auto" and has_gpus) else 0.0


def _no_resources(cpus: float, gpus: float) -> str:
    need = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
    have = "; ".join(
        f"{node['NodeManagerAddress']} has {node['Resources'].get('CPU', 0):g} and "
        f"{node['Resources'].get('GPU', 0):g}"
        for node in alive_nodes()
    )
    return (
        f"--executor ray: no node has {need} for a run ({have or 'no node has CPUs'}); lower "
        "--cpus-per-run or --gpus-per-run"
    )
