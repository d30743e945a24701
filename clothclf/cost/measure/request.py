"""Ask a process of its own what an architecture costs in time and memory; this imports no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clothclf.allocator import ALLOCATOR
from clothclf.cost.count import CostRequest, ask
from clothclf.cost.measure.busy import wait_until_idle
from clothclf.errors import CostError
from clothclf.orphans import module_command
from clothclf.results import MeasuredCost
from clothclf.settings import Device

CHILD = "clothclf.cost.measure.child"
DEVICE: TypeAdapter[str] = TypeAdapter(Device)
MAX_ATTEMPTS = 3
MAX_WAIT_S = 5.0
"""Before each further attempt. A machine that is always busy costs each run so much."""


def measure_cost(
    request: CostRequest,
    device: str = "auto",
    timeout_s: float = 600,
    training_batch_size: int = 16,
) -> MeasuredCost:
    """Measure one architecture in a child process, in about 10 to 20 seconds.

    `device` is `auto | cpu | cuda | cuda:N | mps`. The child does what torch does by default, with
    as many threads, on random weights and images. Nothing else should run meanwhile: where others
    use the cores, it is measured again once they are idle, up to MAX_ATTEMPTS times in all, and
    the calmest stays; what disturbed that one is told in `busy`. Raises CostError, with one
    sentence, where the device is not there, where the architecture cannot be built or refuses the
    size, and where the child dies or takes longer than `timeout_s`.
    """
    question = {
        "request": request.to_dict(),
        "device": known_device(device),
        "training_batch_size": training_batch_size,
    }

    def measure() -> MeasuredCost:
        answer = ask(
            request.architecture,
            child_command(),
            json.dumps(question) + "\n",
            {**ALLOCATOR, **os.environ},
            timeout_s,
            doing="measuring",
        )
        return measured_from_dict(answer)

    return calmest(measure, lambda: wait_until_idle(MAX_WAIT_S))


def calmest(measure: Callable[[], MeasuredCost], wait: Callable[[], bool]) -> MeasuredCost:
    """Measure until nothing disturbs it; after MAX_ATTEMPTS, the one of the lowest latency.

    `wait` is called before another attempt, and says whether the machine is idle now; where it is
    not, another attempt would be no better.
    """
    found = [measure()]
    while found[-1].busy and len(found) < MAX_ATTEMPTS and wait():
        found.append(measure())
    return min(found, key=lambda measured: (bool(measured.busy), measured.latency_ms_median))


def child_command() -> list[str]:
    """The command that starts a measuring process."""
    return module_command(CHILD)


def measured_from_dict(values: dict[str, Any]) -> MeasuredCost:
    """The inverse of `dataclasses.asdict` on a MeasuredCost, by way of JSON too."""
    rates = values["throughput"].items()  # JSON's keys are text
    return MeasuredCost(**{
        **values,
        "latency_ms": tuple(values["latency_ms"]),
        "throughput": {int(batch): rate for batch, rate in rates},
    })  # fmt: skip


def known_device(name: str) -> str:
    """Return the name if it could be a device's; raises CostError otherwise."""
    try:
        return DEVICE.validate_python(name)
    except ValidationError:
        raise CostError(
            f"device: {name!r} is none of auto, cpu, cuda, cuda:N (a GPU's number) and mps"
        ) from None
