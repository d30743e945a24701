"""Count the cost of an architecture in a child process. This side does not import torch."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any, Literal

from clothclf.errors import CostError
from clothclf.process.start import ChildError, request_result
from clothclf.results import Cost, CounterResult, ReceptiveField
from clothclf.settings import HeadSettings

Task = Literal["cost", "quick", "backbone", "modules"]
"""`cost`: all figures; `quick`: torch's counter only; `backbone`: the backbone's figures for a
selection; `modules`: the rows of the module tree."""

CHILD = "clothclf.cost.count_child"


@dataclass(frozen=True)
class CostRequest:
    """Network to count, with the same structure as `models.build.build_classifier` builds."""

    architecture: str
    image_size: int
    """Side of the square image in pixels; 0 for timm's default size of the architecture."""
    classes: int
    """Number of outputs; 0, with `own_classifier`, for timm's default."""
    head: HeadSettings
    frozen: bool = True
    """Whether only the head's parameters are trainable."""
    standardize: bool = False
    """Whether the head starts with a standardization layer."""
    own_classifier: bool = False
    """Use timm's own classifier with `classes` outputs instead of our head."""

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON-serializable values."""
        return {**vars(self), "head": self.head.model_dump()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> CostRequest:
        """Create a request from the values of `to_dict`."""
        return CostRequest(**{**values, "head": HeadSettings(**values["head"])})


def count_cost(request: CostRequest, timeout_s: float = 600) -> Cost:
    """Count one architecture in a child process; takes a few seconds, mostly for imports.

    Raises CostError if the architecture cannot be built or does not accept the size, or if the
    child dies or exceeds `timeout_s`.
    """
    return cost_from_dict(count_in_child("cost", request, timeout_s))


def count_in_child(
    task: Task, request: CostRequest, timeout_s: float = 600, memory: int | None = None
) -> Any:
    """Run a child process for one task and return its result; raises CostError.

    `memory` limits the count, in bytes.
    """
    message = {"task": task, "request": request.to_dict(), "memory": memory}
    # No accelerators, to which flopth would move the model.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
    return request_from_child(CHILD, request.architecture, message, environment, timeout_s)


def request_from_child(
    module: str,
    architecture: str,
    question: dict[str, Any],
    environment: dict[str, str],
    timeout_s: float,
    doing: str = "counting",
) -> Any:
    """Run a module for one request and return its result; raises CostError."""
    try:
        return request_result(
            module, question, doing, environment=environment, timeout_s=timeout_s
        )["result"]
    except ChildError as error:
        message = str(error)
        named = architecture in message
        raise CostError(message if named else f"{architecture}: {message}") from None


def cost_from_dict(values: dict[str, Any]) -> Cost:
    """Create a Cost from the values of `cost_to_dict`."""
    field = values["receptive_field"]
    return Cost(**{
        **values,
        "counters": {name: CounterResult(**it) for name, it in values["counters"].items()},
        "receptive_field": None if field is None else ReceptiveField(**field),
    })  # fmt: skip


def cost_to_dict(cost: Cost) -> dict[str, Any]:
    """Convert to JSON-serializable values."""
    return asdict(cost)
