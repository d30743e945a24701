"""Credentials of a tracking server: read them, and redact them in messages and records."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from benchmark.errors import TrackingError
from clothclf.bounded_file import read_at_most

URI = "MLFLOW_TRACKING_URI"
USER = "MLFLOW_TRACKING_USERNAME"
PASSWORD = "MLFLOW_TRACKING_PASSWORD"  # noqa: S105 - a name
PASSWORD_FILE = "MLFLOW_TRACKING_PASSWORD_FILE"  # noqa: S105 - a name
TOKEN = "MLFLOW_TRACKING_TOKEN"  # noqa: S105 - a name
OF_THE_DRIVER = (URI, USER, PASSWORD, PASSWORD_FILE, TOKEN)
"""Environment variables that only the driver needs, because only it connects to MLflow."""
HIDDEN = "***"
MAX_PASSWORD = 10_000
"""Maximum characters of a password file; a larger file was probably given by mistake."""

MAX_SHOWN = 4_000
"""Maximum characters of a text that is shown; patterns take long to search a larger one."""

FILES = ("sqlite", "file")
"""URI schemes whose paths may contain an @ but never a password."""

_SCHEME = r"([A-Za-z][A-Za-z0-9_+.-]*)://"  # SQLAlchemy's have an underscore: oracle+cx_oracle
_URI = re.compile(_SCHEME + "(.*)", re.DOTALL)
_URI_IN_TEXT = re.compile(rf"\b{_SCHEME}(\S*)")
_AFTER_URI = ")'\".,;:>"
"""Characters at the end of a URI in a text that belong to the text."""
# libpq's `passfile` is not a secret: it is the path of a file with the password.
_SECRET_KEY = re.compile(
    r"((?<!\w)\w*?(?:pass(?!file)\w*|pwd|token|secret|credentials?|(?:api|access|account)[-_]?key)\s*=\s*)"
    r"(\{(?:[^}]|\}\})*\}|'[^']*'(?![^;&\s])|[^;&\s]*)",
    re.IGNORECASE,
)
"""Secret keys with their values, as in URI queries and ODBC or libpq connection strings."""


def take_credentials(uri: str) -> str:
    """Export user and password to MLflow's environment variables; return the URI without them.

    They are read from an HTTP URI, else from MLFLOW_TRACKING_USERNAME and
    MLFLOW_TRACKING_PASSWORD, else from the file in MLFLOW_TRACKING_PASSWORD_FILE. A database URI is
    returned unchanged. Raises TrackingError if the file contains no password.
    """
    if not uri.startswith(("http://", "https://")):
        return uri
    try:
        parts = urlsplit(uri)
    except ValueError:  # invalid URI; connecting to it reports the reason
        return uri
    info, at, host = parts.netloc.rpartition("@")
    if at:
        user, colon, password = info.partition(":")
        os.environ[USER] = unquote(user)
        if colon:
            os.environ[PASSWORD] = unquote(password)
        uri = urlunsplit(parts._replace(netloc=host))
    named = os.environ.get(PASSWORD_FILE)
    if named and not os.environ.get(PASSWORD):
        os.environ[PASSWORD] = _password_in(Path(named))
    return uri


def _password_in(path: Path) -> str:
    try:
        text = read_at_most(path, 4 * MAX_PASSWORD + 1).decode("utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise TrackingError(f"{PASSWORD_FILE}: {path} cannot be read: {why}") from None
    if not text or len(text) > MAX_PASSWORD or "\n" in text:
        raise TrackingError(f"{PASSWORD_FILE}: {path} must contain one line, the password")
    return text


def has_password(uri: str) -> bool:
    """Whether a URI or connection string contains a password; configs must not."""
    return bool(_password_of(uri) or _SECRET_KEY.search(unquote(uri)[:MAX_SHOWN]))


def shown_uri(uri: str) -> str:
    """Redact a URI: keep scheme, host, port and path; the rest may contain a password.

    Surrounding quotes are ignored. Text that is not a URI is redacted by `without_password`.
    """
    match = _URI.fullmatch(uri.strip(" '\""))
    return without_password(_shown(match) if match else uri)


def without_password(text: str) -> str:
    """Redact passwords in a text, and its URIs like `shown_uri`; shorten it to MAX_SHOWN.

    A URI in a text ends at white space.
    """
    for secret in _known_secrets():
        text = text.replace(secret, HIDDEN)
    text = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    return _SECRET_KEY.sub(rf"\1{HIDDEN}", _URI_IN_TEXT.sub(_shown_in_text, text))


def _shown_in_text(match: re.Match[str]) -> str:
    uri = match[0].rstrip(_AFTER_URI)
    whole = _URI.fullmatch(uri)
    return (_shown(whole) if whole else uri) + match[0][len(uri) :]


def _shown(uri: re.Match[str]) -> str:
    scheme, rest = uri.groups()
    if _is_file(scheme):
        path, mark, _ = rest.partition("?")
        return f"{scheme}://{path}{mark and '?' + HIDDEN}"
    # Split at the last @: passwords may contain an unescaped @, /, ? or #.
    _, at, address = rest.rpartition("@")
    address, *more = re.split("[?#&;]", address, maxsplit=1)
    try:
        _ = urlsplit(f"//{address}").port
    except ValueError:  # the port is not a number
        return f"{scheme}://{HIDDEN}"
    return f"{scheme}://{at and HIDDEN + at}{address}{f'?{HIDDEN}' if more else ''}"


def _is_file(scheme: str) -> bool:
    return scheme.lower().partition("+")[0] in FILES


def _password_of(uri: str) -> str:
    """Password of a URI, percent-encoded as in the URI; empty if there is none."""
    match = _URI.fullmatch(uri)
    if not match or _is_file(match[1]):
        return ""
    return match[2].rpartition("@")[0].partition(":")[2]


def _known_secrets() -> tuple[str, ...]:
    """Known secrets, plain and percent-encoded, longest first."""
    return _forms(*(os.environ.get(name, "") for name in (URI, PASSWORD, TOKEN)))


@lru_cache(maxsize=1)
def _forms(uri: str, *secrets: str) -> tuple[str, ...]:
    plain = {*secrets, _password_of(uri), unquote(_password_of(uri))}
    forms = {form for secret in plain if secret for form in (secret, quote(secret, safe=""))}
    return tuple(sorted(forms, key=len, reverse=True))


def environment_of_runs() -> dict[str, str]:
    """Environment of processes that run user code, without tracking URI and credentials."""
    return {name: value for name, value in os.environ.items() if name not in OF_THE_DRIVER}
