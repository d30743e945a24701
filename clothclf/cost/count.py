"""Ask a process of its own what an architecture costs; this side imports no torch."""

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
"""`cost` is everything, `quick` torch's count alone, `body` the few figures that a selection asks
for, `modules` the rows of the module tree."""

Doing = Literal["counting", "measuring"]
"""What a process is for, as it is told of in errors."""

CHILD = "clothclf.cost.child"


@dataclass(frozen=True)
class CostRequest:
    """What to count; the same structure as `models.build.build_classifier` gives."""

    architecture: str
    image_size: int
    """Side of the square picture in pixels; 0 for the size that timm made the architecture for."""
    classes: int
    """Outputs; 0, with `own_classifier`, for as many as timm gives it."""
    head: HeadSettings
    frozen: bool = True
    """Only the head's parameters train."""
    standardize: bool = False
    """The head begins with a standardising layer."""
    own_classifier: bool = False
    """timm's own classifier with `classes` outputs instead of our head."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**vars(self), "head": self.head.model_dump()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> CostRequest:
        """The inverse of `to_dict`."""
        return CostRequest(**{**values, "head": HeadSettings(**values["head"])})


def count_cost(request: CostRequest, timeout_s: float = 600) -> Cost:
    """Count one architecture in one child process; takes some seconds, most of them imports.

    Raises CostError, with one sentence, where the architecture cannot be built or refuses the
    size, and where the child dies or takes longer than `timeout_s`.
    """
    return cost_from_dict(ask_child("cost", request, timeout_s))


def ask_child(task: Task, request: CostRequest, timeout_s: float) -> Any:
    """Run a child for one task and return its answer's plain values; raises CostError."""
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
    """Run a process for one question and return its answer's plain values; raises CostError."""
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
    """The command that starts a counting process."""
    return module_command(CHILD, *options)


def child_environment() -> dict[str, str]:
    """Ours, without accelerators: flopth would move the model to one."""
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}


def encode_question(task: Task, request: CostRequest, **limits: float) -> str:
    """One line of JSON; limits are `memory` in bytes and `timeout_s`."""
    return json.dumps({"task": task, "request": request.to_dict(), **limits}) + "\n"


def decode_answer(
    architecture: str, line: str, exit_code: int, log: str = "", doing: Doing = "counting"
) -> Any:
    """Return what the child answered; raises CostError where it refused or died."""
    try:
        answer = json.loads(line)
    except ValueError:
        raise CostError(f"{architecture}: {describe_death(exit_code, log, doing)}") from None
    if "error" in answer:
        told = answer["error"]
        raise CostError(told if architecture in told else f"{architecture}: {told}")
    return answer["answer"]


def describe_death(exit_code: int, log: str = "", doing: Doing = "counting") -> str:
    """Why a process gave no answer; negative exit codes are signals."""
    if exit_code < 0:
        name = signal_name(-exit_code)
        why = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"the {doing} process was ended by {name}{why}"
    last = (log.strip().splitlines() or ["it left no message"])[-1]
    return f"the {doing} process ended with exit code {exit_code} and no answer: {last}"


def cost_from_dict(values: dict[str, Any]) -> Cost:
    """The inverse of `dataclasses.asdict` on a Cost."""
    field = values["receptive_field"]
    return Cost(**{
        **values,
        **{name: CounterResult(**values[name]) for name in ("torch", "fvcore", "flopth")},
        "receptive_field": None if field is None else ReceptiveField(**field),
    })  # fmt: skip


def cost_to_dict(cost: Cost) -> dict[str, Any]:
    """Plain values, for JSON."""
    return asdict(cost)
