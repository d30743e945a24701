"""The side of a child process that `start.ask_module` asks. Imports only the standard library."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO


def answer_question(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Read a question from standard input and write the answer to standard output, as JSON.

    What libraries print meanwhile goes to standard error.
    """
    answers = private_stdout()
    answers.write(json.dumps(answer(json.loads(sys.stdin.read()))))
    answers.flush()


def private_stdout() -> TextIO:
    """Return a stream to standard output, and redirect what libraries print to standard error."""
    kept = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return kept
