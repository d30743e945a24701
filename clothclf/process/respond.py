"""Child side of `start.request_result`. Imports only the standard library."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO


def serve_request(handle: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Read a request from standard input and write the response of `handle` to standard output.

    Both are JSON. Output of libraries is redirected to standard error.
    """
    responses = private_stdout()
    responses.write(json.dumps(handle(json.loads(sys.stdin.read()))))
    responses.flush()


def private_stdout() -> TextIO:
    """Return a stream to standard output, and redirect what libraries print to standard error."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream
