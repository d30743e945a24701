"""Select the compute device and configure torch for reproducible runs."""

from __future__ import annotations

import torch

from clothclf.errors import DeviceError

REMEDY = "set device to auto, or to one that is available"


def select_device(name: str) -> torch.device:
    """Return the device for `auto | cpu | cuda | cuda:N | mps`.

    Raises DeviceError if the device is not available.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise DeviceError(
                f"device: {name} is not available: torch finds {count} CUDA devices; {REMEDY}"
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"device: mps is not available: torch finds no Apple GPU; {REMEDY}")
    return device


def device_name(device: torch.device) -> str:
    """Return the device's name for records: `cpu`, `mps` or the GPU model."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type


def has_room_for(byte_count: int, device: torch.device) -> bool:
    """Return whether `byte_count` bytes of data fit on a GPU: at most 1/4 of its free memory."""
    return device.type == "cuda" and 4 * byte_count <= torch.cuda.mem_get_info(device)[0]


def wait_for(device: torch.device) -> None:
    """Synchronize: wait until the device has finished all queued work. No-op on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def make_repeatable() -> None:
    """Use deterministic algorithms in torch; warn where an operator has none."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Deterministic mode would also fill every new buffer, in case it is read before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
