"""Counting process: reads a request from standard input and writes the result to standard output.

Both are JSON.
"""

from __future__ import annotations

import warnings
from typing import Any

from clothclf.cost.count import CostRequest, cost_to_dict
from clothclf.errors import UserError, first_line
from clothclf.process.answer import answer_question


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Handle one request; returns an `answer` or an `error`."""
    warnings.simplefilter("ignore")
    from clothclf.cost.counting import count_here, count_on_meta, settle_process
    from clothclf.cost.detail import rows_of
    from clothclf.cost.network import resolve
    from clothclf.cost.quick import count_backbone

    settle_process()
    request = CostRequest.from_dict(question["request"])
    try:
        if question["task"] == "modules":
            network, record = count_on_meta(resolve(request))
            return {"answer": rows_of(network.model, record)}
        if question["task"] == "backbone":
            return {"answer": count_backbone(request)}
        quick = question["task"] == "quick"
        return {"answer": cost_to_dict(count_here(request, quick, question["memory"]))}
    except UserError as error:
        return {"error": str(error)}
    except MemoryError as error:
        return {"error": f"out of memory: {first_line(error)}"}


if __name__ == "__main__":
    answer_question(answer)
