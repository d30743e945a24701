"""Counting process: reads a request from standard input and writes the result to standard output.

Both are JSON.
"""

from __future__ import annotations

import warnings
from typing import Any

from clothclf.cost.count import CostRequest, cost_to_dict
from clothclf.errors import UserError, first_line
from clothclf.process.respond import serve_request


def handle(message: dict[str, Any]) -> dict[str, Any]:
    """Handle one request; returns a `result` or an `error`."""
    warnings.simplefilter("ignore")
    from clothclf.cost.counting import count_in_process, count_on_meta, settle_process
    from clothclf.cost.detail import rows_of
    from clothclf.cost.network import resolve
    from clothclf.cost.quick import count_backbone

    settle_process()
    request = CostRequest.from_dict(message["request"])
    try:
        if message["task"] == "modules":
            network, record = count_on_meta(resolve(request))
            return {"result": rows_of(network.model, record)}
        if message["task"] == "backbone":
            return {"result": count_backbone(request)}
        quick = message["task"] == "quick"
        return {"result": cost_to_dict(count_in_process(request, quick, message["memory"]))}
    except UserError as error:
        return {"error": str(error)}
    except MemoryError as error:
        return {"error": f"out of memory: {first_line(error)}"}


if __name__ == "__main__":
    serve_request(handle)
