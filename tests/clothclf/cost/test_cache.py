"""Cache of counted costs: hits, invalidation and damaged entries."""

from __future__ import annotations

from pathlib import Path

import pytest

from clothclf.cost import cache as kept
from clothclf.cost.cache import cache_path, cached_count
from clothclf.cost.count import CostRequest
from clothclf.errors import CostError
from clothclf.settings import HeadSettings

REQUEST = CostRequest("test_resnet", 32, 11, HeadSettings())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


def test_the_second_time_no_process_is_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cached_count(REQUEST, folder)
    assert first.macs

    def count(request: CostRequest) -> None:
        raise AssertionError(f"{request.architecture} is counted again")

    monkeypatch.setattr(kept, "count_cost", count)
    assert cached_count(REQUEST, folder) == first
    other = CostRequest("test_resnet", 32, 12, HeadSettings())
    with pytest.raises(AssertionError):
        cached_count(other, folder)


@pytest.mark.parametrize("content", ["", "{}", '{"check": "0", "cost": {}}', "[1]"])
def test_what_is_damaged_is_counted_again(content: str, folder: Path) -> None:
    whole = cached_count(REQUEST, folder)
    path = cache_path(REQUEST, folder)
    text = path.read_text()
    path.write_text(content or text.replace(str(whole.macs), str((whole.macs or 0) + 1)))
    assert cached_count(REQUEST, folder) == whole
    assert path.read_text() == text


def test_what_cannot_be_counted_is_not_kept(tmp_path: Path) -> None:
    request = CostRequest("no_such_network", 32, 11, HeadSettings())
    with pytest.raises(CostError):
        cached_count(request, tmp_path)
    assert not cache_path(request, tmp_path).exists()
