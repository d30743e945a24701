"""How many processes train each network together: what was asked for, against what is there."""

from __future__ import annotations

from benchmark.engine.executors.ray.cluster import RayOptions
from clothclf.errors import DeviceError, SettingsError


def processes_of_each_run(
    device: str, processes: int = 1, gpus: float | None = None, workers: int = 1
) -> int:
    """Processes of each run on this machine, from `--processes-per-run` and `--gpus-per-run`.

    Raises DeviceError where there is no device for each of them, and SettingsError where what was
    asked for does not go together.
    """
    if gpus is not None:
        if gpus != int(gpus):
            raise SettingsError(
                f"--gpus-per-run {gpus:g}: only --executor ray gives out parts of a GPU; ask for "
                "whole ones, or give several --workers"
            )
        processes = _one_for_each_gpu(gpus, processes)
    if processes > 1 and workers > 1:
        raise SettingsError(
            f"--workers {workers} with {processes} processes for each run: these take the machine "
            "for one run at a time; leave out --workers"
        )
    if not gpus and processes == 1:
        return 1
    from clothclf.training.distributed.process_group import check_devices, gpu_count  # torch

    if gpus is not None and gpu_count(device) < processes:
        there = gpu_count(device)
        raise DeviceError(
            f"--gpus-per-run {processes}: GPUs found for device: {device}: {there}; ask for fewer, "
            "or try several processes on a CPU with --processes-per-run"
        )
    if processes > 1:
        check_devices(device, processes)
    return processes


def processes_of_each_task(processes: int, options: RayOptions) -> int:
    """Processes that train one network together on a node: one for each of its GPUs.

    Raises SettingsError where what was asked for does not go together.
    """
    gpus = options.gpus_per_run or 0.0
    if gpus > 1 and gpus != int(gpus):
        raise SettingsError(f"--gpus-per-run {gpus:g}: give whole GPUs, or a part of one")
    if gpus >= 1:
        return _one_for_each_gpu(gpus, processes)
    if processes > max(1, options.cpus_per_run):
        raise SettingsError(
            f"--processes-per-run {processes}: each needs a CPU: give --cpus-per-run {processes}"
        )
    return processes


def _one_for_each_gpu(gpus: float, processes: int) -> int:
    wanted = max(1, int(gpus))
    if processes not in (1, wanted):
        raise SettingsError(
            f"--gpus-per-run {gpus:g} has a process for each GPU: leave out "
            f"--processes-per-run {processes}"
        )
    return wanted
