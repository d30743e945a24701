"""Measuring process: reads a request from standard input, writes the result to standard output.

Both are JSON.
"""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clothclf.cost.count import CostRequest
from clothclf.errors import UserError
from clothclf.process.answer import answer_question


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Handle one request; returns an `answer` or an `error`."""
    warnings.simplefilter("ignore")
    _be_the_first_to_go()
    from clothclf.cost.measure.measuring import (
        measure_here,  # imports torch, after standard output was redirected
    )

    request = CostRequest.from_dict(question["request"])
    try:
        measured = measure_here(request, question["device"], question["training_batch_size"])
    except UserError as error:
        return {"error": str(error)}
    return {"answer": asdict(measured)}


def _be_the_first_to_go() -> None:
    """Let Linux's out-of-memory killer pick this process, and not its parent."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    answer_question(answer)
