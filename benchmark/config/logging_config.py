"""Log messages of bench and its library: level, format and destination."""

from __future__ import annotations

import logging
import os
import sys

LOG_LEVEL = "BENCH_LOG"
"""Environment variable with the level: `debug`, `info`, `warning` (default) or `error`."""
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
PACKAGES = ("benchmark", "clothclf")


def configure_logging(level: str | None = None, run: str = "") -> None:
    """Write log messages to standard error, with time, level and the name of the `run`.

    The more detailed of `level` and BENCH_LOG applies; unknown levels are ignored.
    """
    named = [name.lower() for name in (level, os.environ.get(LOG_LEVEL)) if name]
    chosen = min((LEVELS[name] for name in named if name in LEVELS), default=logging.WARNING)
    handler = logging.StreamHandler(sys.stderr)
    who = run.replace("%", "%%") or "%(name)s"
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {who}: %(message)s"))
    for package in PACKAGES:
        logger = logging.getLogger(package)
        logger.handlers = [handler]
        logger.setLevel(chosen)
        logger.propagate = False
