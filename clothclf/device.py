"""The device a run computes on, and how torch is set up on it so that a run can be repeated."""

from __future__ import annotations

import torch

from clothclf.errors import DeviceError

REMEDY = "set device to auto, or to another"


def select_device(name: str) -> torch.device:
    """Return the device for `auto | cpu | cuda | cuda:N | mps`; raises DeviceError if not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise DeviceError(
                f"device: {name} is not there: torch finds {count} CUDA devices; {REMEDY}"
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"device: mps is not there: torch finds no Apple GPU; {REMEDY}")
    return device


def device_name(device: torch.device) -> str:
    """The device in words, for records: `cpu`, or the GPU's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type


def has_room_for(byte_count: int, device: torch.device) -> bool:
    """Whether a GPU can keep data beside a training: they may take a quarter of what is free."""
    return device.type == "cuda" and 4 * byte_count <= torch.cuda.mem_get_info(device)[0]


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that it was given; a CPU has done it already."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def make_repeatable() -> None:
    """Ask torch for deterministic algorithms; those without one are used with a warning."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Deterministic mode also fills every new buffer, in case one is read before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
