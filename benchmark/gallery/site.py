"""Build a gallery: a folder of HTML pages that works without a server."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from benchmark.errors import PackError, ReportError
from benchmark.gallery.architectures import write_architectures_page
from benchmark.gallery.index_page import INDEX_SCRIPT, index_script, render_index
from benchmark.gallery.studies import PackedRuns, PackedStudy, group, verified_runs
from benchmark.gallery.study_page import StudyPages, write_study
from benchmark.report.page.document import write_assets
from benchmark.report.page.html import report_scripts
from clothclf import __version__
from clothclf.data.atomic import replaced_folder

FORMAT = "bench gallery"
MARKER = "gallery.json"
"""File by which a gallery is recognized, with its studies."""
FIRST_PAGE = "index.html"

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Map = Callable[[Callable[[_Item], _Result], Sequence[_Item]], Iterator[_Result]]


@dataclass
class Gallery:
    """What was built."""

    studies: int = 0
    runs: int = 0
    architectures: int = 0
    """Rows of the page of counted costs."""
    refused: list[str] = field(default_factory=list)
    """Packs and studies that were left out, and why, each in one sentence."""
    conflicts: list[str] = field(default_factory=list)
    """Runs that packs have with other figures than an earlier pack."""


def build_gallery(packs: Sequence[Path], output: Path, costs: Path | None = None) -> Gallery:
    """Verify packs, and write the site of the valid ones to the folder `output`.

    `costs` is a table of `bench cost --all-timm`. The folder is replaced as a whole; the same packs
    give the same bytes. Raises PackError if no pack is valid, and ReportError if `output` holds
    something else than a gallery.
    """
    require_gallery(output)
    gallery = Gallery()
    with _workers(len(packs)) as each:
        verified = each(_verified, list(dict.fromkeys(packs)))
        # While the workers verify: the first time of a user, joining the scripts takes seconds.
        scripts = {**report_scripts(), INDEX_SCRIPT: index_script()}
        studies = group(_accepted(verified, gallery))
        if not studies:
            raise PackError("\n".join(gallery.refused))
        with replaced_folder(output) as site:
            if costs is not None:
                gallery.architectures = write_architectures_page(costs, site)
            written = each(partial(write_study, site=site), studies)
            write_assets(site / "assets", scripts)
            _write_site(dict(zip(studies, written, strict=True)), site, gallery)
    return gallery


def require_gallery(output: Path) -> None:
    """Raise ReportError if a gallery would replace anything but a gallery or an empty folder."""
    if output.is_symlink() or output.exists():
        if not output.is_dir():
            raise ReportError(f"{output}: is not a folder; give one for the site with -o")
        if any(output.iterdir()) and not _is_gallery(output):
            raise ReportError(
                f"{output}: holds something else than a gallery; give another folder with -o, "
                "or delete it"
            )


def _is_gallery(folder: Path) -> bool:
    try:
        found = json.loads((folder / MARKER).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT


def _accepted(verified: Iterator[list[PackedRuns] | str], gallery: Gallery) -> list[PackedRuns]:
    """Return the runs of the valid packs; the others are refused."""
    parts: list[PackedRuns] = []
    for found in verified:
        if isinstance(found, str):
            gallery.refused.append(found)
        else:
            parts += found
    return parts


def _verified(path: Path) -> list[PackedRuns] | str:
    """Return the runs of a pack, or why it is refused."""
    try:
        return verified_runs(path)
    except PackError as error:
        return str(error)
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror or error}"


def _write_site(pages: dict[PackedStudy, StudyPages], site: Path, gallery: Gallery) -> None:
    for own in pages.values():
        gallery.refused += [own.error] if own.error else []
        gallery.conflicts += own.conflicts
        gallery.studies += not own.error
        gallery.runs += own.runs
    shown = {study: own for study, own in pages.items() if not own.error}
    if not shown:
        raise PackError("\n".join(gallery.refused))
    index = render_index(shown, gallery.runs, gallery.architectures)
    (site / FIRST_PAGE).write_text(index, "utf-8")
    (site / MARKER).write_text(json.dumps(_contents(shown), indent=1) + "\n", "utf-8")


def _contents(pages: dict[PackedStudy, StudyPages]) -> dict[str, object]:
    return {
        "format": FORMAT,
        "version": 1,
        "bench": __version__,
        "studies": [
            {
                "study": study.name,
                "folder": f"studies/{study.folder}",
                "data_fingerprint": study.parts[0].fingerprint,
                "run_ids": sorted({run_id for part in study.parts for run_id in part.run_ids}),
            }
            for study in pages
        ],
    }


@contextlib.contextmanager
def _workers(count: int) -> Iterator[_Map[Any, Any]]:
    """Yield a `map` that uses all cores, for up to `count` items at a time."""
    affinity = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    cores = min(len(affinity(0)), count)
    if cores == 1:
        yield map
        return
    # Importing what a worker needs takes as long as 40 studies. macOS does not support forking.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(cores, context, initializer=_begin_worker)
    try:
        yield pool.map
    except BrokenProcessPool:
        raise PackError(
            "a process that reads packs was killed; is there enough memory for the largest pack?"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Use one thread, because each worker has a core, and leave Ctrl-C to the main process."""
    import pyarrow as pa
    import threadpoolctl

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    threadpoolctl.threadpool_limits(1)
