"""How many processes train each network together: what was asked for, against what is there."""

from __future__ import annotations

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
        wanted = max(1, int(gpus))
        if processes not in (1, wanted):
            raise SettingsError(
                f"--gpus-per-run {gpus:g} has a process for each GPU: leave out "
                f"--processes-per-run {processes}"
            )
        processes = wanted
    if processes > 1 and workers > 1:
        raise SettingsError(
            f"--workers {workers} with {processes} processes for each run: these take the machine "
            "for one run at a time; leave out --workers"
        )
    if not gpus and processes == 1:
        return 1
    from clothclf.training.team import check_devices, gpu_count  # torch

    if gpus is not None and gpu_count(device) < processes:
        there = gpu_count(device)
        raise DeviceError(
            f"--gpus-per-run {processes}: device: {device} has {there} GPUs here; ask for fewer, "
            "or try several processes on a CPU with --processes-per-run"
        )
    if processes > 1:
        check_devices(device, processes)
    return processes
