"""The process that counts: questions on standard input, answers on standard output, as JSON lines.

Without options it answers one question itself. With `--serve` it imports torch and timm once and
answers each question in a fork of its own, so that nothing of one count is left for the next.
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
    """Answer one question, or with `--serve` as many as come."""
    answers = private_stdout()
    if "--serve" in sys.argv[1:]:
        serve(answers)
        return
    answers.write(json.dumps(answer(json.loads(sys.stdin.readline()))))
    answers.flush()


def private_stdout() -> TextIO:
    """Keep standard output for answers; what libraries print goes to standard error."""
    kept = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return kept


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Carry out one question; a refusal is an answer too."""
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
    """Answer questions in forks until there are no more.

    torch must not have computed anything before a fork: its threads do not live on in it.
    """
    warnings.simplefilter("ignore")
    import flopth  # noqa: F401
    import timm  # noqa: F401

    from clothclf.cost.counting import settle_process

    settle_process()
    # What is here now stays: forks then neither look through it nor copy it.
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
    """In the fork: answer, and leave without the parent's clean-up."""
    code = 1
    try:
        text = json.dumps(answer(question))
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            pipe.write(text)
        code = 0
    finally:
        os._exit(code)


def _read_all(source: int, patience_s: float) -> str | None:
    """Read until the writer is gone; None where that takes longer than `patience_s`."""
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
