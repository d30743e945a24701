"""The file format of packs: a zip with the hash of every member, read as untrusted input."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, TypeVar

from pydantic import Field, ValidationError

from benchmark.errors import PackError
from benchmark.runs.deployments import NAME, Sha256
from benchmark.runs.run_folder import RECORD, from_stored_text
from clothclf.settings import Settings
from clothclf.settings.validation_errors import describe_error, details_of

INDEX = "index.json"
RUN_ID = "[0-9a-f]{12}"
_VARIANT = (
    rf"deploy/{NAME}/[0-9a-f]{{16}}/(artifact\.json|devices/[a-z0-9][a-z0-9._-]{{0,59}}\.json"
    r"|predictions\.parquet|predictions_swapped\.npy)"
)
MEMBER = (
    rf"^(runs/{RUN_ID}/((record|failure|rejection|curve/points|stress/[a-z0-9_]{{1,40}}-[1-5]"
    rf"|deploy/accuracy)\.json|{_VARIANT})"
    r"|audits/[0-9a-f]{8,64}\.json|tables/[0-9a-f]{64}\.parquet)$"
)
"""Names of members. None can leave a folder, and nothing is extracted by its name."""
MAX_PACK_BYTES = 4 * 2**30
MAX_MEMBER_BYTES = 2**28
MAX_UNPACKED_BYTES = 8 * 2**30
"""Maximum size of all members together; their sizes are those that were read."""
MAX_MEMBERS = 200_000
FORMAT: Literal[2] = 2
"""Version of packs that this bench writes."""
OLDEST_FORMAT = 1
"""Earliest version that can be read."""
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)
"""Time of every member, so that packs of the same runs are the same bytes."""


_Model = TypeVar("_Model", bound=Settings)


def _upgraded(values: Any) -> Any:
    """Return the values of an index in version 2, which added variants and runs without figures."""
    if not isinstance(values, dict) or values.get("version") != OLDEST_FORMAT:
        return values
    return {**values, "version": FORMAT}


class PackIndex(Settings):
    """`index.json`: format, version, and the SHA-256 of every other member."""

    upgrade: ClassVar[Callable[[Any], Any]] = staticmethod(_upgraded)

    format: Literal["bench pack"] = "bench pack"
    version: Literal[2] = FORMAT
    members: dict[Annotated[str, Field(pattern=MEMBER)], Sha256] = Field(max_length=MAX_MEMBERS)


def run_member(run_id: str, name: str) -> str:
    """Return the name in a pack of a file of a run."""
    return f"runs/{run_id}/{name}"


def record_member(run_id: str) -> str:
    """Return the name of a run's record in a pack."""
    return run_member(run_id, RECORD)


def table_member(sha256: str) -> str:
    """Return the name of a table; runs with the same manifest share it."""
    return f"tables/{sha256}.parquet"


class PackWriter:
    """Writes the members of a pack; `close` adds the index."""

    def __init__(self, path: Path) -> None:
        """Start a pack in an empty file."""
        self._archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self._members: dict[str, str] = {}

    def add(self, name: str, content: bytes) -> None:
        """Add a member, unless the pack has it."""
        if name not in self._members:
            self._write(name, content)
            self._members[name] = hashlib.sha256(content).hexdigest()

    def close(self) -> None:
        """Write the index, and end the file."""
        index = PackIndex(members=dict(sorted(self._members.items())))
        self._write(INDEX, (index.model_dump_json(indent=1) + "\n").encode())
        self._archive.close()

    def _write(self, name: str, content: bytes) -> None:
        member = zipfile.ZipInfo(name, _FIRST_DAY)
        member.create_system = 3  # the same bytes on every system
        member.external_attr = 0o644 << 16
        self._archive.writestr(member, content, zipfile.ZIP_DEFLATED)


class Pack:
    """An untrusted pack. Members are only read if the index lists them with their hash."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        """Read the index; raises PackError unless it lists exactly the members."""
        self.path = path
        self._archive = archive
        self._sizes: dict[str, int] = {}
        found = archive.infolist()
        if len(found) > MAX_MEMBERS or archive.comment:
            self.refuse("has too many members, or a comment")
        names = [member.filename for member in found]
        for member in found:
            self._require_plain(member, names)
        if INDEX not in names:
            self.refuse(f"has no {INDEX}; it is not a pack of `bench pack`")
        self.members = self._index().members
        if stray := sorted({*names} - {INDEX} ^ self.members.keys()):
            self.refuse(f"{stray[0][:100]!r} is a member or in the index, but not both")

    def _require_plain(self, member: zipfile.ZipInfo, names: list[str]) -> None:
        """Refuse links, folders, devices, encryption, large members and repeated names."""
        kind = stat.S_IFMT(member.external_attr >> 16)
        shown = repr(member.filename[:100])
        if member.is_dir() or kind not in (0, stat.S_IFREG):
            self.refuse(f"{shown} is not a file")
        if member.flag_bits & 1:
            self.refuse(f"{shown} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            self.refuse(f"{shown} is compressed in an unknown way")
        if member.file_size > MAX_MEMBER_BYTES:
            self.refuse(f"{shown} is larger than {MAX_MEMBER_BYTES // 2**20} MiB")
        if len(names) != len(set(names)):
            self.refuse("has two members of one name")

    def _index(self) -> PackIndex:
        text = self._text(self._unpacked(INDEX), INDEX)
        values = json.loads(text)
        version = values.get("version") if isinstance(values, dict) else None
        if type(version) is not int or not OLDEST_FORMAT <= version <= FORMAT:
            self.refuse(
                f"has format {str(version)[:20]}, and this bench reads {OLDEST_FORMAT} to {FORMAT}"
            )
        try:
            return PackIndex.from_json(text)
        except ValidationError as error:
            key, what = describe_error(details_of(error)[0], PackIndex)
            self.refuse(f"{INDEX}: {key[:120]}: {what}")

    def run_ids(self) -> list[str]:
        """Return the run_ids of the pack, sorted."""
        parts = (name.split("/") for name in self.members)
        return sorted({part[1] for part in parts if part[0] == "runs"})

    def names(self, prefix: str) -> list[str]:
        """Return the names of members that start with `prefix`, sorted."""
        return sorted(name for name in self.members if name.startswith(prefix))

    def read(self, name: str) -> bytes:
        """Return a member; raises PackError if it is missing or its hash is not the index's."""
        if name not in self.members:
            self.refuse(f"lacks {name}")
        content = self._unpacked(name)
        if hashlib.sha256(content).hexdigest() != self.members[name]:
            self.refuse(f"{name} is not as it was packed: its hash differs from the index")
        return content

    def model(self, name: str, kind: type[_Model]) -> _Model:
        """Read a JSON member; raises PackError if it is damaged or of another version."""
        value = from_stored_text(self.text(name), kind)
        if value is None:
            self.refuse(f"{name} is damaged, has changed, or is of another version of bench")
        return value

    def text(self, name: str) -> str:
        """Return a JSON member as text, with finite numbers and no repeated keys."""
        return self._text(self.read(name), name)

    def _text(self, content: bytes, name: str) -> str:
        try:
            text = content.decode("utf-8")
            json.loads(text, parse_constant=_refuse_constant, parse_float=_finite,
                       object_pairs_hook=_unique)  # fmt: skip
        except (ValueError, RecursionError) as error:
            self.refuse(f"{name} is not strict JSON: {str(error)[:100]}")
        return text

    def _unpacked(self, name: str) -> bytes:
        """Unpack a member within limits, whatever size its header claims."""
        with self._archive.open(name) as member:
            content = member.read(MAX_MEMBER_BYTES + 1)
        self._sizes[name] = len(content)
        if len(content) > MAX_MEMBER_BYTES or sum(self._sizes.values()) > MAX_UNPACKED_BYTES:
            self.refuse(f"{name} unpacks to too many bytes")
        return content

    def refuse(self, why: str) -> NoReturn:
        """Raise PackError with the name of the file."""
        raise PackError(f"{self.path}: {why}")


@contextlib.contextmanager
def open_pack(path: Path) -> Iterator[Pack]:
    """Open a pack; raises PackError, here and in the context, if it is not as it was packed."""
    try:
        if not path.is_file():
            raise PackError(f"{path}: is not a file; give a pack that `bench pack` wrote")
        if path.stat().st_size > MAX_PACK_BYTES:
            raise PackError(f"{path}: is larger than {MAX_PACK_BYTES // 2**30} GiB")
        with zipfile.ZipFile(path) as archive:
            yield Pack(path, archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise PackError(f"{path}: is not a pack, or damaged: {str(error)[:200]}") from None


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key is repeated")
    return values
