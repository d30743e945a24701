"""Ask a process of its own what an architecture costs in time and memory; this imports no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clothclf.allocator import ALLOCATOR
from clothclf.cost.count import CostRequest, decode_answer
from clothclf.errors import CostError
from clothclf.results import MeasuredCost
from clothclf.settings import Device

CHILD = "clothclf.cost.measure_child"
DEVICE: TypeAdapter[str] = TypeAdapter(Device)


def measure_cost(
    request: CostRequest,
    device: str = "auto",
    timeout_s: float = 600,
    training_batch_size: int = 16,
) -> MeasuredCost:
    """Measure one architecture in one child process, in about 10 to 20 seconds.

    `device` is `auto | cpu | cuda | cuda:N | mps`. The child does what torch does by default, with
    as many threads, on random weights and pictures. Nothing else should run meanwhile; what did is
    told in `busy`. Raises CostError, with one sentence, where the device is not there, where the
    architecture cannot be built or refuses the size, and where the child dies or takes longer than
    `timeout_s`.
    """
    question = {
        "request": request.to_dict(),
        "device": _known_device(device),
        "training_batch_size": training_batch_size,
    }
    try:
        child = subprocess.run(
            child_command(),
            input=json.dumps(question) + "\n",
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**ALLOCATOR, **os.environ},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CostError(
            f"{request.architecture}: measuring took longer than {timeout_s:g} seconds"
        ) from None
    try:
        answer = decode_answer(request.architecture, child.stdout, child.returncode, child.stderr)
    except CostError as error:
        told = str(error).replace("the counting process", "the measuring process")
        raise CostError(told) from None
    return measured_from_dict(answer)


def child_command() -> list[str]:
    """The command that starts a measuring process."""
    return [sys.executable, "-m", CHILD]


def measured_from_dict(values: dict[str, Any]) -> MeasuredCost:
    """The inverse of `dataclasses.asdict` on a MeasuredCost, by way of JSON too."""
    rates = values["throughput"].items()  # JSON's keys are text
    return MeasuredCost(**{
        **values,
        "latency_ms": tuple(values["latency_ms"]),
        "throughput": {int(batch): rate for batch, rate in rates},
    })  # fmt: skip


def _known_device(name: str) -> str:
    try:
        return DEVICE.validate_python(name)
    except ValidationError:
        raise CostError(
            f"device: {name!r} is none of auto, cpu, cuda, cuda:N (a GPU's number) and mps"
        ) from None
