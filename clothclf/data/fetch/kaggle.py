"""Download a data set from Kaggle with Kaggle's client, which resumes and verifies checksums."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from clothclf.connectivity import connection_error
from clothclf.data.fetch.download_folder import Fetched, fetched_before, filling, put_in_place
from clothclf.errors import DataError, first_line

_CACHE = "KAGGLEHUB_CACHE"


def fetch_from_kaggle(dataset: str, folder: Path) -> Fetched:
    """Download a data set, owner/name, to a missing or empty folder, and unpack it.

    Resumes an interrupted download. Kaggle's client shows its progress on standard error. Raises
    DataError if the client is not installed, Kaggle is unreachable or denies access, a checksum
    does not match, or the disk is full.
    """
    # The client binds standard output when it is imported.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            import kagglehub
            from kagglesdk.kaggle_env import get_endpoint, get_env
        except ImportError:
            raise DataError(
                "kagglehub is not installed: pip install 'bench-architectures[kaggle]'"
            ) from None
        # The client itself has no timeout for a server that does not respond.
        if reason := connection_error(get_endpoint(get_env()), "Kaggle"):
            raise DataError(reason)
        with filling(folder) as unfinished:
            if (existing := fetched_before(folder)) is not None:
                return existing  # another process downloaded it first
            with _errors_as_text(dataset), _cache_in(unfinished / "kagglehub"):
                got = Path(kagglehub.dataset_download(dataset))
            version = got.name if got.name.isdecimal() else ""
            if not got.resolve().is_relative_to(unfinished.resolve()):
                # On Kaggle's own machines data sets are already mounted, read-only.
                return Fetched(got, "kaggle", dataset, version, 0, 0, already_existed=True)
            (unfinished / "whole").rmdir()
            os.rename(got, unfinished / "whole")
            return put_in_place(unfinished, Fetched(folder, "kaggle", dataset, version, 0, 0))


@contextlib.contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """Set the client's cache folder, so that interrupted downloads can resume."""
    before = os.environ.get(_CACHE)
    os.environ[_CACHE] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(_CACHE)
        if before is not None:
            os.environ[_CACHE] = before


@contextlib.contextmanager
def _errors_as_text(dataset: str) -> Iterator[None]:
    """Convert exceptions of Kaggle's client to DataError."""
    from kagglehub import exceptions

    address = f"https://www.kaggle.com/datasets/{dataset}"
    try:
        yield
    except exceptions.DataCorruptionError:
        raise DataError(
            f"{dataset}: the download does not match the checksum that Kaggle reports; fetch it "
            "again"
        ) from None
    except OSError as error:  # local disk, or network: exceptions of `requests` are OSError
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is None and error.errno is not None:
            raise
        raise DataError(f"{dataset}: {_refusal(status, address, error)}") from None
    except Exception as error:
        raise DataError(f"{dataset}: {_refusal(None, address, error)}") from None


def _refusal(status: int | None, address: str, error: Exception) -> str:
    if status in (401, 403):
        return (
            f"Kaggle denied access (HTTP {status}); create a token at "
            f"https://www.kaggle.com/settings, set KAGGLE_API_TOKEN to it, and check {address}"
        )
    if status == 404:
        return f"Kaggle has no such data set; check {address}"
    if status is not None:
        return f"Kaggle refused the request (HTTP {status})"
    return (
        f"the connection to Kaggle was lost ({first_line(error)[:200]}); run the same command to "
        "resume"
    )
