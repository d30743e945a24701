"""What travels between the machine of a study and the nodes of its cluster, and how it is checked.

Small files of a run travel with it. A large one is offered by its content: a node that has the same
at the same path reads it there, any other asks for it in pieces, once, and keeps it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from benchmark.engine.process import Limits
from benchmark.runs import folder as files
from benchmark.runs.folder import RunFolder
from benchmark.runs.spec import RunSpec
from clothclf.data.atomic import file_sha256
from clothclf.data.checked import checksum_file

SMALL_BYTES = 2**20
"""Files up to this size travel with the run."""
CHUNK_BYTES = 2**24
"""Of a file's pieces; an object store holds a few of them at a time."""
SAMPLES, SAMPLE_BYTES = 64, 2**16


@dataclass(frozen=True)
class FileRef:
    """A large file of the study's machine."""

    called: str
    """In sentences: `the decoded images`."""
    path: Path
    """On the study's machine, and on others where they share it."""
    size: int
    digest: str
    """Names the content in a node's cache."""
    sha256: str = ""
    """Of the whole content; where empty, samples of it are compared."""
    sample: str = ""
    checksums: bytes = b""
    """Of its blocks, for the file that lies beside it; empty where there is none."""

    def is_at(self, path: Path) -> bool:
        """Whether a file has this content."""
        try:
            if path.stat().st_size != self.size:
                return False
            if self.sha256:
                return file_sha256(path) == self.sha256
            return _sample(path) == self.sample
        except OSError:
            return False


@dataclass(frozen=True)
class RunBundle:
    """All that a node needs for a run."""

    run: str
    """Names this attempt at the run."""
    spec: str
    """As JSON, with the paths of the study's machine."""
    pixels: FileRef
    weights: FileRef | None
    small: dict[str, bytes]
    """Files of the run's folder, by their path in it."""
    large: dict[str, FileRef]
    limits: Limits
    uses_gpus: bool
    versions: dict[str, str]
    """Of the study's machine, which the node must have, too."""
    home: str
    """Ray's name for the study's machine, which has the offered files."""


@dataclass(frozen=True)
class Begun:
    """A node has the run."""

    node: str


@dataclass(frozen=True)
class Lines:
    """Events, as the run's process wrote them."""

    text: bytes


@dataclass(frozen=True)
class Chunk:
    """A part of a file that the run has made; the next of the same name follows it."""

    name: str
    content: bytes
    sha256: str = ""
    """Of the whole file, with its last piece."""


@dataclass(frozen=True)
class Ended:
    """Nothing follows. The record, or the failure, is among the files."""

    how: str
    """`record`, `failure`, `stopped`, or `refused`, with the reason."""
    reason: str = ""
    shared: str = ""
    """Why figures of speed are not to be ranked; empty where the run had the node for itself."""


Message = Begun | Lines | Chunk | Ended


@dataclass
class FileRefs:
    """The large files of a study's machine; each is looked at once."""

    _known: dict[tuple[Path, int, int], FileRef] = field(default_factory=dict)

    def pixels(self, path: Path) -> FileRef:
        """The decoded images. Raises OSError where they are gone.

        Their cache's name and description, and samples spread over them, stand for gigabytes.
        """
        key = _look(path)
        if key not in self._known:
            sample = _sample(path)
            described = path.with_name("cache.json").read_bytes()
            named = f"{path.parent.name}\n{sample}\n".encode() + described
            digest = hashlib.sha256(named).hexdigest()
            checksums = checksum_file(path).read_bytes()
            self._known[key] = FileRef(
                "the decoded images", path, key[1], digest, sample=sample, checksums=checksums
            )
        return self._known[key]

    def whole(self, called: str, path: Path, sha256: str = "") -> FileRef:
        """Any other file, by all of its content. Raises OSError where it is gone."""
        key = _look(path)
        if key not in self._known:
            sha256 = sha256 or file_sha256(path)
            self._known[key] = FileRef(called, path, key[1], sha256, sha256)
        return self._known[key]


def make_bundle(
    spec: RunSpec, folder: RunFolder, file_refs: FileRefs
) -> tuple[FileRef, FileRef | None, dict[str, bytes], dict[str, FileRef]]:
    """Pixels, weights, small files and large ones of a run. Raises OSError where one is gone."""
    weights = spec.weights
    small: dict[str, bytes] = {}
    large: dict[str, FileRef] = {}
    for path in sorted(folder.path.rglob("*")):
        name = path.relative_to(folder.path).as_posix()
        if name == files.SPEC or path.name.startswith(".") or not path.is_file():
            continue
        if path.stat().st_size <= SMALL_BYTES:
            small[name] = path.read_bytes()
        else:
            large[name] = file_refs.whole(f"its file {name}", path)
    return (
        file_refs.pixels(spec.pixels),
        None if weights.path is None else file_refs.whole("weights", weights.path, weights.sha256),
        small,
        large,
    )


def place(folder: Path, name: str) -> Path:
    """Where a file that came from elsewhere lies; raises ValueError for what leads out of `folder`.

    A run's files lie in its folder, or in a folder below it.
    """
    parts = PurePosixPath(name).parts
    if not 1 <= len(parts) <= 2 or any(p in ("", "..", "/") or "\0" in p for p in parts):
        raise ValueError(f"{name!r} is no name of a run's file")
    return folder.joinpath(*parts)


def read_chunk(path: str, start: int) -> tuple[bytes, str]:
    """A piece of a file on this machine, and its SHA-256."""
    with Path(path).open("rb") as file:
        file.seek(start)
        content = file.read(CHUNK_BYTES)
    return content, hashlib.sha256(content).hexdigest()


def _look(path: Path) -> tuple[Path, int, int]:
    found = path.stat()
    return path, found.st_size, found.st_mtime_ns


def _sample(path: Path) -> str:
    """SHA-256 over a file's size and 64 parts of it, evenly spread; raises OSError."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for number in range(SAMPLES):
            file.seek(max(0, size - SAMPLE_BYTES) * number // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
