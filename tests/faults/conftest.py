"""The undisturbed study, run once for all that is compared with it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults import study


class Undisturbed:
    """A finished study, and how long it took."""

    def __init__(self, folder: Path) -> None:
        """Run it."""
        started = time.monotonic()
        study.finish(folder)
        self.seconds = time.monotonic() - started
        self.folder = folder
        self.figures = study.figures(folder)
        assert sorted(self.figures) == [0, 1]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The study that nothing happened to."""
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"))
