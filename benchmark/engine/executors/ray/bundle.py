"""Messages and files between the driver's machine and the nodes of a cluster, with checksums.

Small files of a run are sent with it. Large files are sent as a reference to their content: a node
that has the same content at the same path reads it there, another one fetches it in chunks, once,
and caches it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from benchmark.engine.process import Limits
from benchmark.runs import run_folder as files
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from clothclf.data.atomic import file_sha256
from clothclf.data.checked import checksum_file

SMALL_BYTES = 2**20
"""Maximum size of files that are sent with the run."""
CHUNK_BYTES = 2**24
"""Size of a chunk; the object store holds a few of them at a time."""
SAMPLES, SAMPLE_BYTES = 64, 2**16


@dataclass(frozen=True)
class FileRef:
    """Reference to a large file of the driver's machine."""

    called: str
    """Name in messages, such as `the decoded images`."""
    path: Path
    """Path on the driver's machine, and on nodes with a shared file system."""
    size: int
    digest: str
    """Key of the content in the cache of a node."""
    sha256: str = ""
    """SHA-256 of the whole content; if empty, `sample` is compared."""
    sample: str = ""
    checksums: bytes = b""
    """Content of the file of block checksums beside it; empty if there is none."""

    def is_at(self, path: Path) -> bool:
        """Return whether the file at `path` has this content."""
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
    """Everything that a node needs for a run."""

    run: str
    """Name of this attempt at the run."""
    spec: str
    """Spec as JSON, with the paths of the driver's machine."""
    pixels: FileRef
    weights: FileRef | None
    small: dict[str, bytes]
    """Contents of the small files by their path in the run's folder."""
    large: dict[str, FileRef]
    limits: Limits
    uses_gpus: bool
    versions: dict[str, str]
    """Library versions of the driver's machine, which the node must match."""
    home: str
    """Ray's node id of the driver's machine, which has the referenced files."""


@dataclass(frozen=True)
class Started:
    """A node has started the run."""

    node: str


@dataclass(frozen=True)
class Lines:
    """Events as JSON lines."""

    text: bytes


@dataclass(frozen=True)
class Chunk:
    """A chunk of a result file; the chunks of a file arrive in order."""

    name: str
    content: bytes
    sha256: str = ""
    """SHA-256 of the whole file, set in its last chunk."""


@dataclass(frozen=True)
class Ended:
    """Last message; the record or the failure has been sent as a file."""

    how: str
    """`record`, `failure`, `stopped`, or `refused` with a reason."""
    reason: str = ""
    shared: str = ""
    """Why measured speeds are unreliable; empty if the run had the node to itself."""


Message = Started | Lines | Chunk | Ended


@dataclass
class FileRefs:
    """References to the large files of the driver's machine; each file is hashed once."""

    _known: dict[tuple[Path, int, int], FileRef] = field(default_factory=dict)

    def pixels(self, path: Path) -> FileRef:
        """Return a reference to the decoded images; raises OSError if they are missing.

        Gigabytes are identified by samples and by the name and description of their cache.
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
        """Return a reference to a file by its whole content; raises OSError if it is missing."""
        key = _look(path)
        if key not in self._known:
            sha256 = sha256 or file_sha256(path)
            self._known[key] = FileRef(called, path, key[1], sha256, sha256)
        return self._known[key]


def make_bundle(
    spec: RunSpec, folder: RunFolder, file_refs: FileRefs
) -> tuple[FileRef, FileRef | None, dict[str, bytes], dict[str, FileRef]]:
    """Return pixels, weights, small and large files of a run; raises OSError if one is missing."""
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


def received_path(folder: Path, name: str) -> Path:
    """Return the path of a received file; raises ValueError for names that lead out of `folder`.

    A run's files are in its folder or one level below.
    """
    parts = PurePosixPath(name).parts
    if not 1 <= len(parts) <= 2 or any(p in ("", "..", "/") or "\0" in p for p in parts):
        raise ValueError(f"{name!r} is not a valid name of a run's file")
    return folder.joinpath(*parts)


def read_chunk(path: str, start: int) -> tuple[bytes, str]:
    """Read a chunk of a local file; return it and its SHA-256."""
    with Path(path).open("rb") as file:
        file.seek(start)
        content = file.read(CHUNK_BYTES)
    return content, hashlib.sha256(content).hexdigest()


def _look(path: Path) -> tuple[Path, int, int]:
    status = path.stat()
    return path, status.st_size, status.st_mtime_ns


def _sample(path: Path) -> str:
    """Return the SHA-256 of a file's size and 64 evenly spaced parts of it; raises OSError."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for number in range(SAMPLES):
            file.seek(max(0, size - SAMPLE_BYTES) * number // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
