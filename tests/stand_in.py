"""A server of ours in the hub's place: files, ranges, redirects, listings, and its faults."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0" * 40


class Hub:
    """Speaks as much of the Hugging Face hub's protocol as its client asks for.

    `files` maps an address, as `/owner/name/resolve/main/model.safetensors`, to its content.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.responses: dict[str, tuple[int, dict[str, str], bytes]] = {}
        """What is answered to an address instead: status, headers, content."""
        self.headers: dict[str, dict[str, str]] = {}
        """Of a file's answer, besides the usual ones."""
        self.asked: list[tuple[str, str]] = []
        self.ranges: list[str] = []
        """Of every file that was asked for, the range; empty where all was wanted."""
        self.is_sharded: list[int] = []
        """Bytes after which the next answers break off, one for each."""
        self.stalls_after: int | None = None
        """Bytes after which nothing more comes, though the connection stays."""
        self.elsewhere = False
        """Whether files are handed out at another address, as by the hub's content servers."""
        self.released = threading.Event()
        self.stalled = threading.Event()

    def add_dataset(
        self, name: str, files: dict[str, bytes], revision: str = COMMIT, wrong: bool = False
    ) -> None:
        """Offer a data set's files at COMMIT, which `revision` leads to.

        With `wrong`, what is sent differs by one byte from what the listing says.
        """
        siblings = [_sibling(path, content) for path, content in files.items()]
        listing = {"id": name, "sha": COMMIT, "siblings": siblings}
        for asked in {revision, COMMIT}:
            address = f"/api/datasets/{name}/revision/{asked}?blobs=true"
            self.responses[address] = (200, _JSON, json.dumps(listing).encode())
        for path, content in files.items():
            sent = content[:-1] + bytes([content[-1] ^ 1]) if wrong else content
            self.files[f"/datasets/{name}/resolve/{COMMIT}/{path}"] = sent

    def refuse_dataset(self, name: str, status: int, code: str, revision: str = COMMIT) -> None:
        """Answer a status, and the hub's own code of the error, when asked for a data set."""
        address = f"/api/datasets/{name}/revision/{revision}?blobs=true"
        self.responses[address] = (status, {"X-Error-Code": code} if code else {}, b"")

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Serve while the block lasts; yields the address."""
        hub = self

        class Handler(_Handler):
            def respond(self, send: bool) -> None:
                hub._respond(self, send)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            self.released.set()
            server.shutdown()
            server.server_close()

    def _respond(self, request: _Handler, send: bool) -> None:
        self.asked.append((request.command, request.path))
        if request.path in self.responses:
            status, headers, content = self.responses[request.path]
            request.reply(status, headers, content if send else b"", len(content))
            return
        if self.elsewhere and request.path in self.files:
            request.reply(302, {"Location": f"/elsewhere{request.path}"}, b"", 0)
            return
        content = self._content(request.path)
        if content is None:
            request.reply(404, {"X-Error-Code": "EntryNotFound"}, b"", 0)
        elif send:
            self._send(request, content)
        else:
            request.reply(200, _headers(content), b"", len(content))

    def _content(self, path: str) -> bytes | None:
        if path == "/":
            return b"hub"
        return self.files.get(path.removeprefix("/elsewhere"))

    def _send(self, request: _Handler, content: bytes) -> None:
        asked = request.headers.get("Range", "")
        self.ranges.append(asked)
        start = int(result[1]) if (result := re.fullmatch(r"bytes=(\d+)-", asked)) else 0
        rest = content[start:]
        headers = _headers(content) | self.headers.get(request.path, {})
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        part = rest[: self.is_sharded.pop(0)] if self.is_sharded else rest
        stalls = self.stalls_after is not None and len(rest) > self.stalls_after
        if stalls:
            part = rest[: self.stalls_after]
        request.reply(206 if asked else 200, headers, part, len(rest))
        if stalls:
            self.stalled.set()
            self.released.wait(60)
        if len(part) < len(rest):
            request.close_connection = True


class _Handler(BaseHTTPRequestHandler):
    """Hands every request to `respond`."""

    def respond(self, send: bool) -> None:
        raise NotImplementedError

    def reply(self, status: int, headers: dict[str, str], content: bytes, length: int) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def do_HEAD(self) -> None:
        self.respond(send=False)

    def do_GET(self) -> None:
        self.respond(send=True)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.respond(send=True)

    def log_message(self, *_: object) -> None:
        pass


_JSON = {"Content-Type": "application/json"}


def _headers(content: bytes) -> dict[str, str]:
    return {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}


def _sibling(path: str, content: bytes) -> dict[str, Any]:
    """A file as the hub lists it: large ones by SHA-256, small ones by git's own checksum."""
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False)
    result = {"rfilename": path, "size": len(content), "blobId": blob.hexdigest()}
    if not path.endswith(".parquet") or "small" in path:
        return result
    checksum = hashlib.sha256(content).hexdigest()
    lfs = {"sha256": checksum, "size": len(content), "pointerSize": 134}
    return result | {"lfs": lfs}
