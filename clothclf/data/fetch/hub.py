"""Download a data set's parquet files from the Hugging Face hub, at one commit, with checksums."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from clothclf.connectivity import hub_address, hub_error
from clothclf.data.atomic import file_sha256, write_text
from clothclf.data.fetch.download_folder import (
    Fetched,
    Progress,
    fetched_before,
    filling,
    put_in_place,
)
from clothclf.data.fetch.hub_layout import parquet_files
from clothclf.data.in_use import protect
from clothclf.errors import DataError, first_line
from clothclf.settings import HubSettings

LIST_TIMEOUT_S = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SAFE_NAME = re.compile(r"[\w][\w.,=+@ -]{0,199}")


@dataclass(frozen=True)
class _File:
    """File of a data set, as listed by the hub."""

    name: str
    size: int
    sha256: str
    """SHA-256; empty for small files, for which the hub has only the git blob id."""
    git_id: str

    def is_whole(self, path: Path) -> bool:
        """Whether the file on disk has this size and checksum."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        if self.sha256:
            return file_sha256(path) == self.sha256
        digest = hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False)
        digest.update(path.read_bytes())
        return digest.hexdigest() == self.git_id


def fetch_to_cache(settings: HubSettings, cache: Path) -> Fetched:
    """Return the data set from the cache; download it on first use and never contact the hub again.

    A branch or tag stays at the commit of the first download. Raises DataError as `fetch_from_hub`.
    """
    folder = cache / "hub" / settings.dataset.replace("/", "--")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror}") from None
    protect(folder)
    commit = _cached_commit(settings, folder)
    if commit is not None and (existing := fetched_before(folder / commit)) is not None:
        return existing
    if reason := hub_error("the Hugging Face hub"):
        raise DataError(
            f"{reason}; to use {settings.dataset} (data.hub) offline, set data.path to its "
            "downloaded files"
        )
    if commit is None:
        commit = _find_commit(settings, folder)
    return fetch_from_hub(HubSettings(dataset=settings.dataset, revision=commit), folder / commit)


def _cached_commit(settings: HubSettings, folder: Path) -> str | None:
    """Return the requested commit, or the cached commit of a branch or tag; None if unknown."""
    if _COMMIT.fullmatch(settings.requested_revision):
        return settings.requested_revision
    try:
        commit = _reference(settings, folder).read_text("utf-8").strip()
    except (OSError, ValueError):
        return None  # not cached, or damaged
    return commit if _COMMIT.fullmatch(commit) else None


def _find_commit(settings: HubSettings, folder: Path) -> str:
    """Look up the commit of a branch or tag on the hub, and cache it."""
    commit, _ = _list(settings)
    reference = _reference(settings, folder)
    try:
        reference.parent.mkdir(parents=True, exist_ok=True)
        write_text(reference, commit)
    except OSError as error:
        raise DataError(f"{reference}: cannot be written: {error.strerror}") from None
    return commit


def _reference(settings: HubSettings, folder: Path) -> Path:
    return folder / "refs" / quote(settings.requested_revision, safe="")


def fetch_from_hub(
    settings: HubSettings, folder: Path, progress: Progress | None = None
) -> Fetched:
    """Download the data set's parquet files to a missing or empty folder.

    Resumes an interrupted download. Raises DataError if the hub is unreachable or denies access,
    the data set has no usable files, a checksum does not match, or the disk is full.
    """
    commit, files = _list(settings)
    with filling(folder) as unfinished:
        if (existing := fetched_before(folder)) is not None:
            return existing  # another process downloaded it first
        _require_space(folder, files, unfinished / "whole")
        with _errors_as_text(settings), _bars(shown=progress is None):
            done, total = 0, sum(file.size for file in files)
            for file in files:
                url = f"{_address(settings)}/resolve/{commit}/{quote(file.name)}"
                count = None if progress is None else _Sum(progress, done, total)
                _download(file, url, unfinished / "whole", count)
                done += file.size
        _remove_others(unfinished / "whole", {file.name for file in files})
        checksums = {file.name: file.sha256 for file in files if file.sha256}
        fetched = Fetched(folder, "hub", settings.dataset, commit, len(files), total, checksums)
        return put_in_place(unfinished, fetched)


def _list(settings: HubSettings) -> tuple[str, list[_File]]:
    """Return the commit of the revision, and its parquet files."""
    if reason := hub_error("the Hugging Face hub"):
        raise DataError(reason)
    with _errors_as_text(settings):
        from huggingface_hub import HfApi

        info = HfApi(endpoint=hub_address()).dataset_info(
            settings.dataset,
            revision=settings.requested_revision,
            files_metadata=True,
            timeout=LIST_TIMEOUT_S,
        )
        listed = {item.rfilename: item for item in info.siblings or []}
        commit = str(info.sha)
    where = f"{settings.dataset}@{commit[:8]}"
    if not _COMMIT.fullmatch(commit):
        raise DataError(f"{where}: the hub reports no commit")
    files = []
    for name in parquet_files(listed, where):
        item = listed[name]
        if not all(_SAFE_NAME.fullmatch(part) for part in name.split("/")):
            raise DataError(f"{where}: has a file with an invalid name, {name[:100]!r}")
        sha256 = str(item.lfs.sha256) if item.lfs else ""
        if item.size is None or item.size < 0 or not (sha256 or item.blob_id):
            raise DataError(f"{where}: the hub reports no size or checksum of {name}")
        files.append(_File(name, item.size, sha256, item.blob_id or ""))
    return commit, files


def _download(file: _File, url: str, folder: Path, count: _Sum | None) -> None:
    """Download one file into a folder, resuming a partial one; rename it when it is complete."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    target = folder / file.name
    part = target.with_name(f".{target.name}.{(file.sha256 or file.git_id)[:12]}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    while not file.is_whole(target):
        had = part.stat().st_size if part.is_file() else 0
        if had > file.size:
            part.unlink()
            had = 0
        with _Counted(part, count) as out:
            headers = build_hf_headers()
            http_get(url, out, resume_size=had, headers=headers, expected_size=file.size)
            os.fsync(out.fileno())
        if file.is_whole(part):
            os.replace(part, target)
            return
        part.unlink()
        if not had:  # otherwise the earlier partial file may be the damaged part
            raise DataError(
                f"{file.name}: the download does not match the checksum that the hub reports; "
                "fetch it again, and if the error persists, check for a proxy that changes "
                "downloads"
            )


@dataclass(frozen=True)
class _Sum:
    """Progress of one file, reported as part of the total."""

    notify: Progress
    before: int
    total: int

    def update(self, size: int) -> None:
        """Report progress with `size` bytes of this file."""
        self.notify(self.before + size, self.total)


class _Counted(io.FileIO):
    """File opened for appending that reports its size after each write."""

    def __init__(self, path: Path, count: _Sum | None) -> None:
        super().__init__(path, "a")
        self._count = count

    def write(self, content: object) -> int:
        """Write bytes and report their number."""
        written = super().write(content)  # type: ignore[arg-type]
        if self._count is not None:
            self._count.update(self.tell())
        return written


def _address(settings: HubSettings) -> str:
    return f"{hub_address()}/datasets/{settings.dataset}"


@contextlib.contextmanager
def _bars(shown: bool) -> Iterator[None]:
    """Hide the hub client's progress bars unless `shown`."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextlib.contextmanager
def _errors_as_text(settings: HubSettings) -> Iterator[None]:
    """Convert exceptions of the hub client to DataError."""
    try:
        from huggingface_hub import errors
    except ImportError:
        raise DataError(
            "huggingface_hub is not installed: pip install 'bench-architectures[hub]'"
        ) from None
    name = settings.dataset
    try:
        yield
    except DataError:
        raise
    except errors.GatedRepoError:
        raise DataError(
            f"{name}: the data set requires you to accept its terms: accept them at "
            f"{_address(settings)}, then log in with `hf auth login`"
        ) from None
    except errors.RepositoryNotFoundError:
        raise DataError(
            f"data.hub.dataset: the hub has no data set {name}, or it is private; check "
            f"{_address(settings)}, or log in with `hf auth login`"
        ) from None
    except errors.RevisionNotFoundError:
        raise DataError(
            f"data.hub.revision: {name} has no revision {settings.requested_revision!r}"
        ) from None
    except errors.HfHubHTTPError as error:
        raise DataError(f"{name}: the hub refused the request: {_status(error)}") from None
    except OSError as error:
        if error.errno is not None:
            raise  # local disk
        raise DataError(_checksum_error(name, error)) from None
    except Exception as error:  # the client and its network library raise many types
        raise DataError(_checksum_error(name, error)) from None


def _checksum_error(name: str, error: Exception) -> str:
    return (
        f"{name}: the connection to the hub was lost ({first_line(error)[:200]}); run the same "
        "command to resume"
    )


def _status(error: Exception) -> str:
    code = getattr(getattr(error, "response", None), "status_code", None)
    meaning = {
        401: " (log in with `hf auth login`)",
        403: " (no permission)",
        429: " (too many requests)",
    }
    return first_line(error)[:200] if code is None else f"HTTP {code}{meaning.get(code, '')}"


def _require_space(folder: Path, files: list[_File], whole: Path) -> None:
    downloaded = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    missing = sum(file.size for file in files) - downloaded
    free = shutil.disk_usage(folder.parent).free
    if missing > free:
        raise DataError(
            f"{folder}: needs {missing / 2**20:,.0f} MiB, but {free / 2**20:,.0f} MiB are "
            "free; choose another folder with --to"
        )


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove files of an earlier attempt at another commit."""
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in names:
            path.unlink()
