"""Connect to an MLflow store quietly, and explain connection errors in one sentence."""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
import sys
from collections.abc import Iterator
from typing import Any

from benchmark.config.credentials import (
    PASSWORD,
    PASSWORD_FILE,
    TOKEN,
    USER,
    shown_uri,
    without_password,
)
from benchmark.errors import TrackingError
from benchmark.tracking.sqlite_store import PREFIX
from clothclf import errors

HTTP_TIMEOUT_S = 10
SLOWEST_UPLOAD = 2_000_000
"""Minimum upload speed in bytes per second, to the server and on to its artifact storage."""
TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
UNKNOWN, FORBIDDEN = 401, 403
"""HTTP statuses: not authenticated, not authorized."""
CODES = {
    "UNAUTHENTICATED": UNKNOWN,
    "CUSTOMER_UNAUTHORIZED": UNKNOWN,
    "PERMISSION_DENIED": FORBIDDEN,
}
AUTHORITIES = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name the certificate of a private authority, in the order that MLflow uses."""


def quiet_environment() -> None:
    """Disable MLflow's telemetry and the messages that would mix with our output."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # MLflow also raises the errors that it logs with a traceback; we report those in a sentence.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    # Otherwise MLflow requests each ended run again and prints two lines with its URL.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault(TIMEOUT, str(HTTP_TIMEOUT_S))
    logging.getLogger("alembic").setLevel(logging.WARNING)


def print_error(text: str) -> None:
    """Print a message for the user to standard error."""
    print(text, file=sys.stderr, flush=True)


def require_server(uri: str) -> None:
    """Check the server's health first, because MLflow's own client retries for minutes.

    Raises TrackingError if the server cannot be reached.
    """
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(
            f"{uri.rstrip('/')}/health", timeout=HTTP_TIMEOUT_S, context=_trusted(uri)
        ):
            return
    except urllib.error.HTTPError:
        return  # it is reachable; MLflow's client reports what it refuses
    except (OSError, ValueError) as error:
        raise TrackingError(unusable(uri, first_line(error))) from None


def _trusted(uri: str) -> ssl.SSLContext | None:
    """Return a TLS context that trusts the same certificates as MLflow's client."""
    if not uri.startswith("https:"):
        return None
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        return ssl._create_unverified_context()  # noqa: S323 - the user asks for it
    import certifi

    named = next((os.environ[name] for name in AUTHORITIES if os.environ.get(name)), "")
    where = named or certifi.where()
    if os.path.isdir(where):
        return ssl.create_default_context(capath=where)
    return ssl.create_default_context(cafile=where)


@contextlib.contextmanager
def timeout_for(size: int) -> Iterator[None]:
    """Extend the timeout of MLflow's client for uploads of `size` bytes within the context."""
    usual = os.environ.get(TIMEOUT)
    os.environ[TIMEOUT] = str(int(float(usual or HTTP_TIMEOUT_S) + size / SLOWEST_UPLOAD))
    try:
        yield
    finally:
        if usual is None:
            del os.environ[TIMEOUT]
        else:
            os.environ[TIMEOUT] = usual


def unusable(uri: str, why: str) -> str:
    """Return the error message for a store that cannot be used."""
    if "CERTIFICATE_VERIFY_FAILED" in why:
        why = (
            f"its certificate is not trusted; set {AUTHORITIES[0]} to the file of its certificate "
            "authority"
        )
    if uri.startswith(PREFIX):
        way_out = (
            "fix the error, or move the file away and rebuild it with `bench sync` from the run "
            "folders"
        )
    else:
        way_out = (
            "start the server, correct the URI, or remove it to use the SQLite store in "
            "tracking.folder"
        )
    return f"tracking.uri: {shown_uri(uri)} cannot be used: {why}; {way_out}"


def refused(uri: str, error: BaseException) -> str:
    """Return the message for a failed authentication or authorization; empty for other errors."""
    message = _not_let_in(error)
    return f"tracking.uri: {shown_uri(uri)} {message}" if message else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error without passwords, or its type if it has no message."""
    message = _not_let_in(error)
    if message:
        return f"the server {message}"
    return without_password(errors.first_line(error))


def _not_let_in(error: BaseException) -> str:
    status = _status(error)
    user = os.environ.get(USER, "")
    if status == FORBIDDEN:
        return (
            f"denies user {user!r} this request; the server's administrator can grant permission "
            "to manage runs"
        )
    if status != UNKNOWN:
        return ""
    if not user and not os.environ.get(TOKEN):
        return f"requires a login; set {USER}, and {PASSWORD} or {PASSWORD_FILE}"
    if not user:
        return f"rejects the token in {TOKEN}; correct it"
    return f"rejects user {user!r} with this password; correct {USER} and {PASSWORD}"


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of an error, or None if it has none."""
    response: Any = getattr(error, "response", None)
    if response is not None:
        return getattr(response, "status_code", None)
    return CODES.get(str(getattr(error, "error_code", "")))
