"""Shared fixtures: small data sets in Kaggle's layout, and the real material where it is there."""

from __future__ import annotations

import io
import logging
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from clothclf.data.decode import Decoded, decoding

if TYPE_CHECKING:
    from tests.benchmark.conftest import StudyRun

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several tests at a time share the cores; torch reads this when it is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Without connections that stay open: copying a SQLite database closes its file, and with it the
# locks that this process has on it, so that another process corrupts it.
os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")

SHARED = Path(__file__).parents[2] / "shared"

TIERS = ("browser", "cluster", "faults", "gpu")
"""Folders whose tests have a marker of the same name."""
LONG = ("cluster", "faults", "browser", "benchmark")
"""Folders whose files take longest, the longest first: begun last, one core would wait for them."""


REAL = {"real_zip", "real_weights"}
"""Fixtures that need the real data set beside the repository."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder and fixtures; begin with the folders that take longest."""
    here = Path(__file__).parent
    order = {name: place for place, name in enumerate(LONG)}
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        if folder in TIERS:
            item.add_marker(folder)
        if REAL & set(getattr(item, "fixturenames", ())):
            item.add_marker("real_data")
    items.sort(key=lambda item: order.get(item.path.relative_to(here).parts[0], len(LONG)))


@pytest.fixture(autouse=True)
def default_logging() -> Iterator[None]:
    """Undo what a command that a test runs in this process does to the loggers."""
    yield
    for package in ("benchmark", "clothclf"):
        logger = logging.getLogger(package)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)


def decode_rgb(content: bytes) -> Decoded:
    """An image decoded, out of the block that keeps its memory spoken for."""
    with decoding(content) as decoded:
        return decoded


def draw_jpeg(seed: int, width: int = 12, height: int = 16) -> bytes:
    """A small JPEG; another seed gives other pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


class KaggleBuilder:
    """Writes data sets in Kaggle's layout below a folder of its own.

    `table` is the text (or bytes) of styles.csv, `files` maps an id to the bytes of its jpg;
    `root` puts both one folder down (`"top/"`). Without a table, `counts` says how many images
    each label has; their ids count from 1000.
    """

    def __init__(self, folder: Path) -> None:
        self.parent = folder

    @staticmethod
    def contents(counts: dict[str, int]) -> tuple[str, dict[str, bytes]]:
        """A clean table and its images, all of them different."""
        labels = [label for label, count in counts.items() for _ in range(count)]
        rows = [f"{number},{label},a {label}" for number, label in enumerate(labels, 1000)]
        files = {str(1000 + place): draw_jpeg(place) for place in range(len(labels))}
        return "\n".join(["id,articleType,productDisplayName", *rows]) + "\n", files

    def folder(
        self,
        table: str | bytes = "",
        files: dict[str, bytes] | None = None,
        root: str = "",
        name: str = "data",
        counts: dict[str, int] | None = None,
    ) -> Path:
        """Write an unpacked data set and return its folder."""
        for path, content in self._files(table, files, root, counts).items():
            file = self.parent / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return self.parent / name

    def zip(
        self,
        table: str | bytes = "",
        files: dict[str, bytes] | None = None,
        root: str = "",
        name: str = "data.zip",
        counts: dict[str, int] | None = None,
    ) -> Path:
        """Write an archive (more is added to one that is there) and return its path."""
        path = self.parent / name
        with zipfile.ZipFile(path, "a") as archive:
            for member, content in self._files(table, files, root, counts).items():
                archive.writestr(member, content)
        return path

    def _files(
        self,
        table: str | bytes,
        files: dict[str, bytes] | None,
        root: str,
        counts: dict[str, int] | None,
    ) -> dict[str, bytes]:
        if counts is not None:
            table, files = self.contents(counts)
        content = table.encode() if isinstance(table, str) else table
        images = {f"{root}images/{key}.jpg": data for key, data in (files or {}).items()}
        return {f"{root}styles.csv": content, **images}


@pytest.fixture
def kaggle(tmp_path: Path) -> KaggleBuilder:
    """Build data sets in Kaggle's layout under `tmp_path`."""
    return KaggleBuilder(tmp_path)


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """The tiny study, run once for all tests that only look at it."""
    from tests.benchmark.conftest import TINY, StudyRun, run_bench

    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.yaml").write_text(TINY)
    return StudyRun(folder, run_bench(folder, "run", "--all", "-c", "tiny.yaml"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For small models: threads slow them down, badly where other processes compete."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def real_zip() -> Path:
    """The real data set's archive; the test is skipped where it is not there."""
    path = SHARED / "data" / "fashion-product-images-small.zip"
    if not path.is_file():
        pytest.skip("the real data set is not beside the project")
    return path


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """The folder of real ImageNet weights; the test is skipped where it is not there."""
    path = SHARED / "weights"
    if not path.is_dir():
        pytest.skip("real weights are not beside the project")
    return path
