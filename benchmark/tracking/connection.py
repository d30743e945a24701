"""Reach an MLflow store without its noise, and say in one sentence why it cannot be used."""

from __future__ import annotations

import logging
import os
import re

from benchmark.errors import TrackingError

HTTP_PATIENCE_S = 10


def quiet_environment() -> None:
    """Keep MLflow from reporting usage to its makers and from talking over our own output."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # What it logs as an error, with a traceback, it raises too, and that is told in a sentence.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(HTTP_PATIENCE_S))
    logging.getLogger("alembic").setLevel(logging.WARNING)


def require_server(uri: str) -> None:
    """Ask the server for its health first: MLflow's own client retries for minutes."""
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=HTTP_PATIENCE_S):
            return
    except urllib.error.HTTPError:
        return  # it answers; what it refuses, MLflow's client will say
    except (OSError, ValueError) as error:
        raise TrackingError(unusable(uri, first_line(error))) from None


def without_password(uri: str) -> str:
    """The URI as it may be shown."""
    return re.sub(r"//[^/@]*@", "//***@", uri)


def unusable(uri: str, why: str) -> str:
    """The sentence on a store that cannot be used."""
    return (
        f"tracking.uri: {without_password(uri)} cannot be used: {why}; start the server, "
        "mend the URI, or leave it out to use the SQLite store in tracking.folder"
    )


def first_line(error: BaseException) -> str:
    """What an error says, without what follows; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
