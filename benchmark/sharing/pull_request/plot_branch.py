"""Store plots on a branch of their own, because comments can only link to images."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import quote

from benchmark.sharing.pull_request.github import GitHub, GitHubError

BRANCH = "bench-plots"
PERMISSION = "contents: write"
MAX_ATTEMPTS = 3
ABOUT = (
    "Plots that comments on pull requests show. Nothing else uses this branch: delete it at any "
    "time, and the plots of earlier comments are gone.\n"
)


def store_plot(github: GitHub, path: str, content: bytes) -> str:
    """Commit a plot to BRANCH, which is created first if needed; return the commit.

    An unchanged plot needs no commit. Raises GitHubError.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        head = _head(github)
        try:
            if head is None:
                return _create_branch(github, path, content)
            return _update(github, path, content, head)
        except GitHubError as error:
            # Another job has created or moved the branch in between.
            if error.status not in (409, 422) or attempt == MAX_ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")


def _head(github: GitHub) -> str | None:
    """Commit of the branch, or None without a branch."""
    try:
        found = github.request("GET", f"git/ref/heads/{BRANCH}", permission=PERMISSION)
    except GitHubError as error:
        if error.status == 404:
            return None
        raise
    return _sha(found, "object")


def _create_branch(github: GitHub, path: str, content: bytes) -> str:
    """Create the branch with the plot, without the history of the repository."""
    encoded = {"content": base64.b64encode(content).decode(), "encoding": "base64"}
    blob = _sha(_post(github, "git/blobs", encoded))
    entries = [
        {"path": "README.md", "mode": "100644", "type": "blob", "content": ABOUT},
        {"path": path, "mode": "100644", "type": "blob", "sha": blob},
    ]
    tree = _sha(_post(github, "git/trees", {"tree": entries}))
    first = {"message": _title(path), "tree": tree, "parents": []}
    commit = _sha(_post(github, "git/commits", first))
    _post(github, "git/refs", {"ref": f"refs/heads/{BRANCH}", "sha": commit})
    return commit


def _update(github: GitHub, path: str, content: bytes, head: str) -> str:
    address = f"contents/{quote(path)}"
    try:
        known = _sha(github.request("GET", f"{address}?ref={head}", permission=PERMISSION))
    except GitHubError as error:
        if error.status != 404:
            raise
        known = ""
    if known == _blob_sha(content):
        return head
    body = {
        "message": _title(path),
        "content": base64.b64encode(content).decode(),
        "branch": BRANCH,
        **({"sha": known} if known else {}),
    }
    return _sha(github.request("PUT", address, body, PERMISSION), "commit")


def _post(github: GitHub, path: str, body: object) -> Any:
    return github.request("POST", path, body, PERMISSION)


def _title(path: str) -> str:
    return f"Add {path} [skip ci]"


def _blob_sha(content: bytes) -> str:
    """Git's own hash of a file."""
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def _sha(found: Any, key: str = "") -> str:
    """Return the hash of an object in a response."""
    try:
        sha = (found[key] if key else found)["sha"]
    except (KeyError, TypeError):
        sha = None
    if not isinstance(sha, str) or not sha.isalnum():
        raise GitHubError(f"{BRANCH}: GitHub's response has no hash")
    return sha
