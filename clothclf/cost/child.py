"""Counting process: reads requests from standard input and writes results to standard output.

Both are JSON lines. Without options it handles one request itself. With `--serve` it imports torch
and timm once and handles each request in a fork, so that no state is left for the next request.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import time
import warnings
from typing import Any, TextIO

from clothclf.cost.count import CostRequest, cost_to_dict, describe_death
from clothclf.errors import UserError, first_line

TIMEOUT_S = 600.0


def main() -> None:
    """Handle one request, or with `--serve` all requests until the input ends."""
    answers = private_stdout()
    if "--serve" in sys.argv[1:]:
        serve(answers)
        return
    answers.write(json.dumps(answer(json.loads(sys.stdin.readline()))))
    answers.flush()


def private_stdout() -> TextIO:
    """Return a stream to standard output, and redirect what libraries print to standard error."""
    kept = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return kept


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
        if question["task"] == "body":
            return {"answer": count_backbone(request)}
        quick = question["task"] == "quick"
        return {"answer": cost_to_dict(count_here(request, quick, question.get("memory")))}
    except UserError as error:
        return {"error": str(error)}
    except MemoryError as error:
        return {"error": f"out of memory: {first_line(error)}"}


def serve(answers: TextIO) -> None:
    """Handle requests in forks until the input ends.

    torch must not compute anything before a fork, since its threads do not survive it.
    """
    warnings.simplefilter("ignore")
    import timm  # noqa: F401

    from clothclf.cost.counters.registry import COUNTERS
    from clothclf.cost.counting import settle_process

    settle_process()
    for counter in COUNTERS.values():
        counter.load()
    # Forks then neither traverse nor copy the objects that exist now.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        question = json.loads(line)
        answers.write(_answer_in_fork(question, answers) + "\n")
        answers.flush()


def _answer_in_fork(question: dict[str, Any], answers: TextIO) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.close(answers.fileno())
        _answer_and_leave(question, writing)
    os.close(writing)
    patience = float(question.get("timeout_s", TIMEOUT_S))
    text = _read_all(reading, patience)
    if text is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if text is None:
        return json.dumps({"error": f"counting took longer than {patience:g} seconds"})
    if not text:
        death = describe_death(os.waitstatus_to_exitcode(status))
        return json.dumps({"error": death})
    return text


def _answer_and_leave(question: dict[str, Any], writing: int) -> None:
    """Handle the request in the fork, and exit without running the parent's clean-up."""
    code = 1
    try:
        text = json.dumps(answer(question))
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            pipe.write(text)
        code = 0
    finally:
        os._exit(code)


def _read_all(source: int, patience_s: float) -> str | None:
    """Read until the writer closes the pipe; returns None after a timeout of `patience_s`."""
    deadline = time.monotonic() + patience_s
    parts: list[bytes] = []
    try:
        while True:
            ready, _, _ = select.select([source], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            part = os.read(source, 2**16)
            if not part:
                return b"".join(parts).decode()
            parts.append(part)
    finally:
        os.close(source)


if __name__ == "__main__":
    main()
