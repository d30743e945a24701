"""Requests to GitHub's REST API: time limits, retries, pages, and errors in one sentence."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Any

import certifi

from benchmark.text.printable import printable
from clothclf.errors import UserError, first_line

TIMEOUT_S = 20
MAX_ATTEMPTS = 4
MAX_WAIT_S = 90
"""Longest wait for a rate limit; GitHub asks for a minute after a secondary one."""
MAX_BYTES = 64 * 2**20
"""Maximum size of a response; 100 comments of the largest size have 26 MB."""
MAX_PAGES = 100
MAX_SHOWN = 200
"""Characters of GitHub's own message to show."""
HEADERS = {
    "Accept": "application/vnd.github+json",
    "Content-Type": "application/json",
    "User-Agent": "bench-architectures",
    "X-GitHub-Api-Version": "2022-11-28",
}


class GitHubError(UserError):
    """GitHub cannot be reached, or refuses a request."""

    def __init__(self, message: str, status: int | None = None, may_be_done: bool = False) -> None:
        """`status` is None without a response; `may_be_done` if the request may have succeeded."""
        super().__init__(message)
        self.status = status
        self.may_be_done = may_be_done


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which would take the token to another address."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nothing; the status becomes an error."""


@dataclass(frozen=True)
class _Refusal:
    """A response that is no success."""

    status: int
    headers: Message
    message: str

    @property
    def rate_limited(self) -> bool:
        """Whether the request was not carried out because there were too many."""
        if self.status == 429:
            return True
        spent = self.headers.get("x-ratelimit-remaining") == "0"
        limited = spent or "retry-after" in self.headers or "rate limit" in self.message.lower()
        return self.status == 403 and limited

    def wait_s(self, attempt: int) -> float:
        """Seconds that GitHub asks to wait, or else a growing time."""
        for name, since in (("retry-after", 0.0), ("x-ratelimit-reset", time.time())):
            if self.headers.get(name, "").isdecimal():
                return max(0.0, float(self.headers[name]) - since)
        return 60.0 if self.rate_limited else 2.0 ** (attempt - 1)


class GitHub:
    """The REST API for one repository, with one token."""

    def __init__(self, address: str, repository: str, token: str) -> None:
        """`address` is GITHUB_API_URL; `repository` is OWNER/NAME."""
        if not address.startswith(("https://", "http://")):
            raise GitHubError(f"GITHUB_API_URL: {address} is not an http or https URL")
        self.repository = repository
        self._address = address.rstrip("/")
        self._token = token
        context = ssl.create_default_context()
        context.load_verify_locations(certifi.where())
        secure = urllib.request.HTTPSHandler(context=context)
        self._opener = urllib.request.build_opener(_NoRedirect, secure)

    def request(
        self, method: str, path: str, body: object = None, permission: str = "", again: bool = True
    ) -> Any:
        """Send a request below the repository, and return the JSON of the response.

        `permission` is what the job needs for it, for the message. Rate limits are waited for;
        server and network errors are retried only with `again`. Raises GitHubError.
        """
        return self._send(method, f"/repos/{self.repository}/{path}", body, permission, again)[0]

    def login(self) -> str | None:
        """Return the user of the token, or None for the token of a job or app, which has none."""
        try:
            user, _ = self._send("GET", "/user")
        except GitHubError as error:
            if error.status in (403, 404):
                return None
            raise
        return str(user["login"]) if isinstance(user, dict) and "login" in user else None

    def pages(self, path: str, permission: str = "") -> Iterator[dict[str, Any]]:
        """Yield the entries of a list, page by page."""
        for page in range(1, MAX_PAGES + 1):
            address = f"/repos/{self.repository}/{path}?per_page=100&page={page}"
            entries, headers = self._send("GET", address, permission=permission)
            if not isinstance(entries, list):
                raise GitHubError(f"GET {path}: GitHub's response is not a list")
            yield from (entry for entry in entries if isinstance(entry, dict))
            # The number of the page is ours: a link could lead the token elsewhere.
            if 'rel="next"' not in headers.get("Link", ""):
                return

    def _send(
        self, method: str, path: str, body: object = None, permission: str = "", again: bool = True
    ) -> tuple[Any, Message]:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            last = attempt == MAX_ATTEMPTS
            try:
                found = self._once(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                if last or not again:
                    raise self._unreachable(error) from None
                time.sleep(2.0 ** (attempt - 1))
                continue
            if not isinstance(found, _Refusal):
                return found
            wait = found.wait_s(attempt)
            passing = found.rate_limited or (found.status >= 500 and again)
            if last or not passing or wait > MAX_WAIT_S:
                raise _refused(found, f"{method} {path.partition('?')[0]}", permission, wait)
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _once(self, method: str, path: str, body: object) -> tuple[Any, Message] | _Refusal:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._address}{path}", data, HEADERS, method=method)
        request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as response:
                content, headers = response.read(MAX_BYTES + 1), response.headers
        except urllib.error.HTTPError as error:
            with error:
                return _Refusal(error.code, error.headers, _message(error.read(2**16)))
        try:
            if len(content) > MAX_BYTES:
                raise ValueError
            return json.loads(content), headers
        except ValueError:
            text = f"{self._address}: the response is not GitHub's; check GITHUB_API_URL"
            raise GitHubError(text) from None

    def _unreachable(self, error: Exception) -> GitHubError:
        why = printable(first_line(error))[:MAX_SHOWN]
        text = f"{self._address} cannot be reached: {why}; run the job again"
        return GitHubError(text, may_be_done=True)


def _message(content: bytes) -> str:
    """GitHub's own words for a refusal, with its first detail."""
    try:
        found = json.loads(content)
        message = str(found["message"])
    except (ValueError, KeyError, TypeError):
        return "no message"
    details = found.get("errors")
    if isinstance(details, list) and details and isinstance(details[0], dict):
        message += f": {details[0].get('message') or details[0].get('code')}"
    return printable(message)[:MAX_SHOWN]


def _refused(refusal: _Refusal, request: str, permission: str, wait: float) -> GitHubError:
    status = refusal.status
    if refusal.rate_limited:
        remedy = f"too many requests; run the job again in {wait:.0f} seconds"
    elif status == 401:
        remedy = "the token is not valid; use the default of the input `token`, or renew it"
    elif status == 403:
        needed = f"give the job `permissions: {permission}`" if permission else "check the token"
        remedy = f"{needed}; jobs of pull requests from forks can only read"
    elif status in (404, 410):
        remedy = "the repository has no such entry, or the token may not read it"
    elif status >= 500:
        remedy = "GitHub has a problem; run the job again"
    elif 300 <= status < 400:
        remedy = "redirects are not followed; check GITHUB_API_URL and GITHUB_REPOSITORY"
    else:
        remedy = "GitHub rejects the request"
    text = f"{request}: status {status} ({refusal.message}): {remedy}"
    # A rate limit can have the status of a missing permission, which callers tell apart.
    known = 429 if refusal.rate_limited else status
    return GitHubError(text, known, may_be_done=status >= 500)
