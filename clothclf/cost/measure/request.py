"""Measure an architecture in a child process. This side does not import torch."""

from __future__ import annotations

import os
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clothclf.allocator import ALLOCATOR
from clothclf.cost.count import CostRequest, request_from_child
from clothclf.cost.measure.busy import calmest
from clothclf.errors import CostError
from clothclf.results import MeasuredCost
from clothclf.settings import Device

CHILD = "clothclf.cost.measure.measure_child"
DEVICE: TypeAdapter[str] = TypeAdapter(Device)


def measure_cost(
    request: CostRequest,
    device: str = "auto",
    timeout_s: float = 600,
    training_batch_size: int = 16,
) -> MeasuredCost:
    """Measure one architecture in a child process, in about 5 to 15 seconds.

    `device` is `auto | cpu | cuda | cuda:N | mps`. The child uses torch's defaults, including its
    number of threads, and random weights and images. Nothing else should run at the same time: if
    other processes use the cores, it measures again once they are idle, up to `MAX_ATTEMPTS` times
    in total, and returns the least disturbed result, with the disturbance in `busy`. Raises
    CostError if the device is not available, if the architecture cannot be built or does not accept
    the size, or if the child dies or exceeds `timeout_s`.
    """
    message = {
        "request": request.to_dict(),
        "device": known_device(device),
        "training_batch_size": training_batch_size,
    }

    def measure() -> MeasuredCost:
        response = request_from_child(
            CHILD,
            request.architecture,
            message,
            {**ALLOCATOR, **os.environ},
            timeout_s,
            doing="measuring",
        )
        return measured_from_dict(response)

    return calmest(measure, lambda result: (result.busy, result.latency_ms_median))


def measured_from_dict(values: dict[str, Any]) -> MeasuredCost:
    """Create a MeasuredCost from the values of `dataclasses.asdict`, also after JSON."""
    rates = values["throughput"].items()  # JSON keys are strings
    return MeasuredCost(**{
        **values,
        "latency_ms": tuple(values["latency_ms"]),
        "throughput": {int(batch): rate for batch, rate in rates},
    })  # fmt: skip


def known_device(name: str) -> str:
    """Return the name if it is a valid device name; raises CostError otherwise."""
    try:
        return DEVICE.validate_python(name)
    except ValidationError:
        raise CostError(
            f"device: {name!r} is not one of auto, cpu, cuda, cuda:N (N is the number of a GPU) "
            "and mps"
        ) from None
