"""User and password of a tracking server: where they come from, and how they stay unseen."""

from __future__ import annotations

import os
import re
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
"""Only the process that talks to MLflow needs them."""
HIDDEN = "***"
MAX_PASSWORD = 10_000
"""Characters; a file that holds more was named by mistake."""

FILES = ("sqlite", "file")
"""Schemes whose paths may hold an @, and never a password."""

_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]*)://"
_URI = re.compile(_SCHEME + "(.*)", re.DOTALL)
_URI_IN_TEXT = re.compile(rf"\b{_SCHEME}(\S*?)(?=[)'\".,;:>]*(?:\s|$))")
# A file that holds a password may be named: libpq's passfile.
_SECRET_KEY = re.compile(
    r"(\w*(?:pass(?!file)\w*|pwd|token|secret|credentials?|api_?key|access_?key)\s*=\s*)"
    r"(\{(?:[^}]|\}\})*\}|'[^']*'(?![^;&\s])|[^;&\s]*)",
    re.IGNORECASE,
)
"""With its value, as queries of URIs, ODBC and libpq spell them."""


def take_credentials(uri: str) -> str:
    """Put user and password where MLflow's client reads them; return the URI without them.

    They come from a server's URI, else from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD,
    else from the file that MLFLOW_TRACKING_PASSWORD_FILE names. A database's URI is returned as it
    is. Raises TrackingError where that file gives no password.
    """
    if not uri.startswith(("http://", "https://")):
        return uri
    try:
        parts = urlsplit(uri)
    except ValueError:  # who connects to it will say why it is none
        return uri
    info, at, place = parts.netloc.rpartition("@")
    if at:
        user, colon, password = info.partition(":")
        os.environ[USER] = unquote(user)
        if colon:
            os.environ[PASSWORD] = unquote(password)
        uri = urlunsplit(parts._replace(netloc=place))
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
        raise TrackingError(f"{PASSWORD_FILE}: {path} must hold one line, the password")
    return text


def has_password(uri: str) -> bool:
    """Whether a URI or a connection string holds a password, which a config file must not."""
    return bool(_password_of(uri) or _SECRET_KEY.search(unquote(uri)))


def shown_uri(uri: str) -> str:
    """Scheme, host, port and path of a URI; all else is hidden, as it may be a password.

    Quotes around it do not count. What is no URI is shown as `without_password` does.
    """
    found = _URI.fullmatch(uri.strip(" '\""))
    return without_password(_shown(found) if found else uri)


def without_password(text: str) -> str:
    """A text, as it may be shown: without passwords, and of URIs only what `shown_uri` leaves.

    In a text, a URI ends where white space begins.
    """
    for secret in _known_secrets():
        text = text.replace(secret, HIDDEN)
    return _SECRET_KEY.sub(rf"\1{HIDDEN}", _URI_IN_TEXT.sub(_shown, text))


def _shown(uri: re.Match[str]) -> str:
    scheme, rest = uri.groups()
    if _is_file(scheme):
        path, mark, _ = rest.partition("?")
        return f"{scheme}://{path}{mark and '?' + HIDDEN}"
    # The last @ counts: passwords may hold one, and what would end a host, as they are.
    _, at, place = rest.rpartition("@")
    place, *more = re.split("[?#&;]", place, maxsplit=1)
    try:
        _ = urlsplit(f"//{place}").port
    except ValueError:  # it is no number
        return f"{scheme}://{HIDDEN}"
    return f"{scheme}://{at and HIDDEN + at}{place}{f'?{HIDDEN}' if more else ''}"


def _is_file(scheme: str) -> bool:
    return scheme.lower().partition("+")[0] in FILES


def _password_of(uri: str) -> str:
    """What stands between user and host, as it is spelt there; empty without one."""
    found = _URI.fullmatch(uri)
    if not found or _is_file(found[1]):
        return ""
    return found[2].rpartition("@")[0].partition(":")[2]


def _known_secrets() -> list[str]:
    """What must not be shown, as it is and as URIs spell it, the longest first."""
    uri = os.environ.get(URI, "")
    plain = {os.environ.get(name, "") for name in (PASSWORD, TOKEN)}
    plain |= {_password_of(uri), unquote(_password_of(uri))}
    return sorted(
        {form for secret in plain if secret for form in (secret, quote(secret, safe=""))},
        key=len,
        reverse=True,
    )


def environment_of_runs() -> dict[str, str]:
    """For processes that run the user's code: without what is the driver's alone."""
    return {name: value for name, value in os.environ.items() if name not in OF_THE_DRIVER}
