"""Loggers of libraries whose warnings users cannot act on. Imports only the standard library."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def without_log_warnings() -> Iterator[None]:
    """Disable warnings of all loggers, and restore the previous level."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
