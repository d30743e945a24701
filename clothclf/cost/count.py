"""Count the cost of an architecture in a child process. This side does not import torch."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict, dataclass
from typing import Any, Literal

from clothclf.errors import CostError
from clothclf.orphans import module_command, signal_name
from clothclf.results import Cost, CounterResult, ReceptiveField
from clothclf.settings import HeadSettings

Task = Literal["cost", "quick", "body", "modules"]
"""`cost`: all figures; `quick`: torch's counter only; `body`: the backbone's figures for a
selection; `modules`: the rows of the module tree."""

Doing = Literal["counting", "measuring"]
"""Purpose of a child process, for error messages."""

CHILD = "clothclf.cost.child"


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
    return cost_from_dict(ask_child("cost", request, timeout_s))


def ask_child(task: Task, request: CostRequest, timeout_s: float) -> Any:
    """Run a child process for one task and return its result; raises CostError."""
    question = encode_question(task, request)
    return ask(request.architecture, child_command(), question, child_environment(), timeout_s)


def ask(
    architecture: str,
    command: list[str],
    question: str,
    environment: dict[str, str],
    timeout_s: float,
    doing: Doing = "counting",
) -> Any:
    """Run a process for one request and return its result; raises CostError."""
    try:
        child = subprocess.run(
            command,
            input=question,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CostError(f"{architecture}: {doing} took longer than {timeout_s:g} seconds") from None
    return decode_answer(architecture, child.stdout, child.returncode, child.stderr, doing)


def child_command(*options: str) -> list[str]:
    """Return the command that starts a counting process."""
    return module_command(CHILD, *options)


def child_environment() -> dict[str, str]:
    """Return the environment without accelerators, to which flopth would move the model."""
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}


def encode_question(task: Task, request: CostRequest, **limits: float) -> str:
    """Encode a request as one line of JSON; limits are `memory` in bytes and `timeout_s`."""
    return json.dumps({"task": task, "request": request.to_dict(), **limits}) + "\n"


def decode_answer(
    architecture: str, line: str, exit_code: int, log: str = "", doing: Doing = "counting"
) -> Any:
    """Return the result in the child's output; raises CostError if it reported an error or died."""
    try:
        answer = json.loads(line)
    except ValueError:
        raise CostError(f"{architecture}: {describe_death(exit_code, log, doing)}") from None
    if "error" in answer:
        message = answer["error"]
        raise CostError(message if architecture in message else f"{architecture}: {message}")
    return answer["answer"]


def describe_death(exit_code: int, log: str = "", doing: Doing = "counting") -> str:
    """Describe why a process gave no result; negative exit codes are signals."""
    if exit_code < 0:
        name = signal_name(-exit_code)
        why = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"the {doing} process was ended by {name}{why}"
    last = (log.strip().splitlines() or ["it left no message"])[-1]
    return f"the {doing} process ended with exit code {exit_code} and no answer: {last}"


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
