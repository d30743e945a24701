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
from clothclf.process.respond import serve_request


def handle(message: dict[str, Any]) -> dict[str, Any]:
    """Handle one request; returns a `result` or an `error`."""
    warnings.simplefilter("ignore")
    _prefer_for_oom_kill()
    from clothclf.cost.measure.measuring import (
        measure_in_process,  # imports torch, after standard output was redirected
    )

    request = CostRequest.from_dict(message["request"])
    try:
        measured = measure_in_process(request, message["device"], message["training_batch_size"])
    except UserError as error:
        return {"error": str(error)}
    return {"result": asdict(measured)}


def _prefer_for_oom_kill() -> None:
    """Let Linux's out-of-memory killer pick this process, and not its parent."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    serve_request(handle)
