"""Shared warm counting process, which imports torch and timm once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from clothclf.cost.count import (
    CostRequest,
    child_command,
    child_environment,
    cost_from_dict,
    decode_answer,
    encode_question,
)
from clothclf.results import Cost


@pytest.fixture(scope="session")
def counting() -> Iterator[Callable[[CostRequest], Cost]]:
    """Return a `count_cost` that does not start a process per call."""
    process = subprocess.Popen(
        child_command("--serve"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=child_environment(),
    )
    assert process.stdin
    assert process.stdout

    def count(request: CostRequest) -> Cost:
        process.stdin.write(encode_question("cost", request))
        process.stdin.flush()
        return cost_from_dict(decode_answer(request.architecture, process.stdout.readline(), 0))

    yield count
    process.stdin.close()
    process.wait(timeout=60)
    process.stdout.close()
