"""A server of ours in GitHub's place: comments, branches and files of one repository.

It has the paths, bodies, status codes and headers of the REST API (version 2022-11-28), and shows
images as github.com does.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY = "owner/name"
TOKEN = "ghs_notARealTokenButLongEnough"  # noqa: S105 - of the stand-in
BOT = {"login": "github-actions[bot]", "type": "Bot"}
MAX_BODY = 65_536
Answer = tuple[int, Any, dict[str, str]]


class Refused(Exception):  # noqa: N818 - a response
    """A response that is no success."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        self.answer: Answer = (status, {"message": message, **more}, {})


@dataclass
class Fault:
    """What is answered once to a request in place of the usual."""

    request: str
    """Method and path, as a regular expression."""
    status: int
    message: str = "fault"
    headers: dict[str, str] = field(default_factory=dict)
    done: bool = False
    """Whether the request is carried out although the response says otherwise."""


@dataclass
class GitHubStandIn:
    """State of the repository."""

    permissions: set[str] = field(default_factory=lambda: {"contents", "pull-requests"})
    user: dict[str, str] | None = None
    """User of the token; None for that of a job."""
    comments: list[dict[str, Any]] = field(default_factory=list)
    refs: dict[str, str] = field(default_factory=dict)
    objects: dict[str, Any] = field(default_factory=dict)
    """Blobs as bytes, trees as paths to blobs, commits as trees and parents."""
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    before: Callable[[str], None] | None = None
    """Called with each request, before it is answered."""
    address: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_comment(self, body: str, user: dict[str, str]) -> dict[str, Any]:
        number = 1000 + len(self.comments)
        url = f"{self.address}/{REPOSITORY}/pull/7#issuecomment-{number}"
        comment = {"id": number, "body": body, "user": user, "html_url": url}
        self.comments.append(comment)
        return comment

    def own(self) -> list[str]:
        """Bodies of the comments that the token's user wrote."""
        return [item["body"] for item in self.comments if item["user"] == (self.user or BOT)]

    def commit(self, files: dict[str, bytes], parents: tuple[str, ...] = ()) -> str:
        tree = {path: self.store(content) for path, content in files.items()}
        return self.store({"tree": self.store(tree), "parents": parents})

    def store(self, value: Any) -> str:
        content = value if isinstance(value, bytes) else repr(value).encode()
        kind = b"blob" if isinstance(value, bytes) else b"object"
        name = hashlib.sha1(
            kind + f" {len(content)}\0".encode() + content, usedforsecurity=False
        ).hexdigest()
        self.objects[name] = value
        return name

    def files(self, commit: str) -> dict[str, bytes]:
        tree = self.objects[self.objects[commit]["tree"]]
        return {path: self.objects[blob] for path, blob in tree.items()}

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Serve on a free port of loopback while the block lasts; yields the address."""
        github = self

        class Handler(_Handler):
            stand_in = github

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self.address
        finally:
            server.shutdown()
            server.server_close()

    def answer(self, method: str, address: str, token: str, content: bytes) -> Answer:
        path = unquote(urlsplit(address).path)
        request = f"{method} {path}"
        with self._lock:
            self.asked.append(f"{method} {address}")
            if self.before is not None:
                self.before(request)
            fault = next((f for f in self.faults if re.fullmatch(f.request, request)), None)
            if fault is not None:
                self.faults.remove(fault)
                if fault.done:
                    self._usual(method, path, address, token, content)
                return fault.status, {"message": fault.message}, fault.headers
            try:
                return self._usual(method, path, address, token, content)
            except Refused as refused:
                return refused.answer

    def _usual(self, method: str, path: str, address: str, token: str, content: bytes) -> Answer:
        if token != f"Bearer {TOKEN}":
            raise Refused(401, "Bad credentials")
        query = {key: values[0] for key, values in parse_qs(urlsplit(address).query).items()}
        body = json.loads(content) if content else {}
        if f"{method} {path}" == "GET /user":
            if self.user is None:
                raise Refused(403, "Resource not accessible by integration")
            return 200, self.user, {}
        routes: list[tuple[str, str, Callable[..., Answer]]] = [
            ("GET", r"issues/(\d+)/comments", self._list),
            ("POST", r"issues/(\d+)/comments", self._create),
            ("PATCH", r"issues/comments/(\d+)", self._edit),
            ("GET", r"git/ref/heads/(.+)", self._ref),
            ("POST", r"git/(blobs|trees|commits|refs)", self._git),
            ("GET", r"contents/(.+)", self._read),
            ("PUT", r"contents/(.+)", self._write),
        ]
        for known, pattern, route in routes:
            found = re.fullmatch(rf"/repos/{REPOSITORY}/{pattern}", path)
            if found and method == known:
                return route(found[1], query, body)
        raise Refused(404, "Not Found")

    def _needs(self, permission: str) -> None:
        if permission not in self.permissions:
            raise Refused(403, "Resource not accessible by integration")

    def _list(self, number: str, query: dict[str, str], body: Any) -> Answer:
        if number != "7":
            raise Refused(404, "Not Found")
        size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
        shown = self.comments[size * (page - 1) : size * page]
        more = size * page < len(self.comments)
        link = f'<{self.address}/repositories/1/issues/7/comments?page={page + 1}>; rel="next"'
        return 200, shown, {"Link": link} if more else {}

    def _create(self, number: str, query: dict[str, str], body: Any) -> Answer:
        self._needs("pull-requests")
        if number != "7":
            raise Refused(404, "Not Found")
        return 201, self.add_comment(_short(body["body"]), self.user or BOT), {}

    def _edit(self, number: str, query: dict[str, str], body: Any) -> Answer:
        self._needs("pull-requests")
        for comment in self.comments:
            if str(comment["id"]) == number:
                comment["body"] = _short(body["body"])
                return 200, comment, {}
        raise Refused(404, "Not Found")

    def _ref(self, name: str, query: dict[str, str], body: Any) -> Answer:
        if name not in self.refs:
            raise Refused(404, "Not Found")
        return 200, {"object": {"sha": self.refs[name], "type": "commit"}}, {}

    def _git(self, kind: str, query: dict[str, str], body: Any) -> Answer:
        self._needs("contents")
        if kind == "blobs":
            assert body["encoding"] == "base64"
            return 201, {"sha": self.store(base64.b64decode(body["content"]))}, {}
        if kind == "trees":
            tree = {
                entry["path"]: entry.get("sha") or self.store(entry["content"].encode())
                for entry in body["tree"]
            }
            assert all(blob in self.objects for blob in tree.values())
            return 201, {"sha": self.store(tree)}, {}
        if kind == "commits":
            made = {"tree": body["tree"], "parents": tuple(body["parents"])}
            return 201, {"sha": self.store(made)}, {}
        name = body["ref"].removeprefix("refs/heads/")
        if name in self.refs:
            raise Refused(422, "Reference already exists")
        assert body["sha"] in self.objects
        self.refs[name] = body["sha"]
        return 201, {"ref": body["ref"], "object": {"sha": body["sha"]}}, {}

    def _read(self, path: str, query: dict[str, str], body: Any) -> Answer:
        files = self.files(query["ref"])
        if path not in files:
            raise Refused(404, "Not Found")
        return 200, {"type": "file", "path": path, "sha": self.store(files[path])}, {}

    def _write(self, path: str, query: dict[str, str], body: Any) -> Answer:
        self._needs("contents")
        branch = body["branch"]
        if branch not in self.refs:
            raise Refused(404, f"Branch {branch} not found")
        files = self.files(self.refs[branch])
        if path in files and "sha" not in body:
            raise Refused(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
        if path in files and body["sha"] != self.store(files[path]):
            raise Refused(409, f"{path} does not match {body['sha']}")
        files[path] = base64.b64decode(body["content"])
        self.refs[branch] = self.commit(files, (self.refs[branch],))
        return 200, {"content": {"path": path}, "commit": {"sha": self.refs[branch]}}, {}

    def image(self, address: str) -> bytes | None:
        """What github.com shows for the page of a file with `?raw=true`."""
        found = re.fullmatch(rf"/{REPOSITORY}/blob/(\w+)/(.+)\?raw=true", address)
        return self.files(found[1]).get(unquote(found[2])) if found else None


def _short(body: str) -> str:
    if len(body) > MAX_BODY:
        text = f"Body is too long (maximum is {MAX_BODY} characters)"
        errors = [{"resource": "IssueComment", "code": "unprocessable", "message": text}]
        raise Refused(422, "Validation Failed", errors=errors)
    return body


class _Handler(BaseHTTPRequestHandler):
    stand_in: GitHubStandIn

    def _serve(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        image = self.stand_in.image(self.path) if self.command == "GET" else None
        if image is not None:
            self._reply(200, {"Content-Type": "image/png"}, image)
            return
        token = self.headers.get("Authorization", "")
        status, body, headers = self.stand_in.answer(self.command, self.path, token, content)
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._reply(status, {"Content-Type": "application/json; charset=utf-8", **headers}, text)

    def _reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = _serve  # noqa: N815 - names of http.server

    def log_message(self, *_: object) -> None:
        pass
