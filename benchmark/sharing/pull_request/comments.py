"""Find and write this job's one comment on a pull request."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from benchmark.sharing.pull_request.github import GitHub, GitHubError

PERMISSION = "pull-requests: write"
MAX_ATTEMPTS = 3


def marker(key: str) -> str:
    """First line of a comment, which is not shown; the key is hashed and cannot end it."""
    return f"<!-- bench comment {hashlib.sha256(key.encode()).hexdigest()[:16]} -->"


def write_comment(github: GitHub, number: int, key: str, text: str) -> str:
    """Update the comment of this key on a pull request, or create it; return its address.

    Raises GitHubError.
    """
    login, body = github.login(), {"body": f"{marker(key)}\n{text}"}
    for attempt in range(1, MAX_ATTEMPTS + 1):
        found = _find(github, number, key, login)
        try:
            if found is None:
                # Not sent again before looking: the comment may be there though no response came.
                path = f"issues/{number}/comments"
                written = github.request("POST", path, body, PERMISSION, again=False)
            else:
                written = github.request("PATCH", f"issues/comments/{found}", body, PERMISSION)
        except GitHubError as error:
            deleted = found is not None and error.status == 404
            if not (deleted or error.may_be_done) or attempt == MAX_ATTEMPTS:
                raise
            time.sleep(2.0 ** (attempt - 1))
            continue
        return str(written.get("html_url", "")) if isinstance(written, dict) else ""
    raise AssertionError("the last attempt returns or raises")


def _find(github: GitHub, number: int, key: str, login: str | None) -> int | None:
    """Number of the oldest comment that this token's user wrote with this key."""
    start = marker(key)
    for comment in github.pages(f"issues/{number}/comments", PERMISSION):
        if str(comment.get("body") or "").startswith(start) and _is_own(comment, login):
            return int(comment["id"])
    return None


def _is_own(comment: dict[str, Any], login: str | None) -> bool:
    """Whether the comment is of the token's user; of a bot, for the token of a job or app.

    Others can copy the marker, but nobody can write as a bot.
    """
    user = comment.get("user") or {}
    return user.get("type") == "Bot" if login is None else user.get("login") == login
