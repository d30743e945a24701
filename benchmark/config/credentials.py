"""User and password of a tracking server: where they come from, and how they stay unseen."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from benchmark.errors import TrackingError

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

# Paths of SQLite stores may hold an @, and never a password.
_USER_INFO = re.compile(r"\b(?!sqlite:|file:)([A-Za-z][A-Za-z0-9+.-]*)://[^\s'\"]*@")
_QUERY = re.compile(r"([?&](?:password|passwd|sslpassword)=)[^&\s'\"]*", re.IGNORECASE)
_DATABASE_PASSWORD = re.compile(r"^(?!sqlite:|file:|https?:)[A-Za-z0-9+.-]+://[^:/]*:[^@]*@")


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
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_PASSWORD + 1).strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise TrackingError(f"{PASSWORD_FILE}: {path} cannot be read: {why}") from None
    if not text or len(text) > MAX_PASSWORD or "\n" in text:
        raise TrackingError(f"{PASSWORD_FILE}: {path} must hold one line, the password")
    return text


def has_password(uri: str) -> bool:
    """Whether a URI holds a password, which a config file must not."""
    try:
        told = uri.startswith(("http://", "https://")) and urlsplit(uri).password is not None
    except ValueError:  # such as a bracket that is not closed
        told = "@" in uri
    return told or bool(_DATABASE_PASSWORD.match(uri) or _QUERY.search(uri))


def without_password(text: str) -> str:
    """A URI, or a text that quotes some, as it may be shown."""
    shown = _QUERY.sub(rf"\1{HIDDEN}", _USER_INFO.sub(rf"\1://{HIDDEN}@", text))
    for secret in _known_secrets():
        shown = shown.replace(secret, HIDDEN)
    return shown


def _known_secrets() -> list[str]:
    """What must not be shown, as it is and as URIs spell it, the longest first."""
    plain = {os.environ.get(name, "") for name in (PASSWORD, TOKEN)}
    return sorted(
        {form for secret in plain if secret for form in (secret, quote(secret, safe=""))},
        key=len,
        reverse=True,
    )


def environment_of_runs() -> dict[str, str]:
    """For processes that run the user's code: without what is the driver's alone."""
    return {name: value for name, value in os.environ.items() if name not in OF_THE_DRIVER}
