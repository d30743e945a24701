"""What is cached for a user is made once, made again if damaged, and never needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.runs.user_cache import cached_bytes, user_cache_folder


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Contents that were made, the newest last, with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return []


def ask(made: list[bytes]) -> bytes:
    def make() -> bytes:
        made.append(b"content %d\n" % len(made))
        return made[-1]

    return cached_bytes("library.js", make)


def test_it_is_made_once_and_again_if_the_file_is_damaged(made: list[bytes]) -> None:
    assert ask(made) == ask(made) == b"content 0\n"
    file = user_cache_folder() / "library.js"
    for damaged in (file.read_bytes()[:-1], b"", file.read_bytes().replace(b"content", b"Content")):
        file.write_bytes(damaged)
        assert ask(made) == ask(made) == made[-1]
    assert len(made) == 4


def test_a_cache_that_cannot_be_written_is_not_needed(made: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, where a folder should be")
    assert ask(made) == b"content 0\n"
    assert ask(made) == b"content 1\n"
