"""`bench data fetch`, as a user calls it: a server of ours in the hub's place, or nobody."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.benchmark.conftest import Bench
from tests.clothclf.data import hub_files
from tests.stand_in import Hub

NOBODY = "http://127.0.0.1:1"
NAME = "shop/clothes"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub, no Kaggle, no proxy."""
    for name in list(os.environ):
        if "proxy" in name.lower() or name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")


def offered(folder: Path) -> Hub:
    """A hub that has a small data set."""
    hub = Hub()
    name = "data/train-00000-of-00001.parquet"
    path = hub_files.fashion(folder / "made" / name, range(24), ["Tops", "Shirts"] * 12)
    hub.add_dataset(NAME, {name: path.read_bytes()}, revision="main")
    return hub


def test_out_of_reach_it_says_at_once_how_to_do_it_by_hand(bench: Bench, tmp_path: Path) -> None:
    started = time.monotonic()
    done = bench("data", "fetch", "fashion", "--to", "pictures")
    assert time.monotonic() - started < 30
    assert done.code == 2
    assert done.out == ""
    assert "Traceback" not in done.err
    assert f"from the hub: the Hugging Face hub {NOBODY} cannot be reached" in done.err
    assert "https://www.kaggle.com/api/v1/datasets/download/paramaggarwal/" in done.err
    assert "both into pictures/fashion; then: data.source=hub data.path=pictures/f" in done.err
    assert not (tmp_path / "pictures").exists()


def test_what_is_fetched_is_used_as_it_says(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with offered(tmp_path).running() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        done = bench("data", "fetch", NAME)
        assert done.code == 0, done.err
    source, path = done.out.split()
    assert (source, path) == ("data.source=hub", "data.path=data/clothes")
    stats = bench("data", "stats", "-c", "tiny.yaml", "--set", source, "--set", path)
    assert stats.code == 0, stats.err
    assert "rows         24 read, 24 images kept" in stats.out
    again = bench("data", "fetch", NAME)
    assert again.code == 0, again.err
    assert again.out == done.out
    assert "already fetched, unchanged: data/clothes" in again.err


def test_a_study_of_the_hub_needs_no_path(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetched once, it is read without the hub."""
    keys = ("--set", "data.source=hub", "--set", f"data.hub.dataset={NAME}")
    with offered(tmp_path).running() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        first = bench("data", "stats", "-c", "tiny.yaml", *keys)
        assert first.code == 0, first.err
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    done = bench("data", "stats", "-c", "tiny.yaml", *keys, "--set", "data.image_size=24")
    assert done.code == 0, done.err
    assert done.out == first.out
    assert f"source       {NAME}@00000000" in first.out


@pytest.mark.parametrize("name", ["fashions", "../etc", "a/b/c", "/etc/passwd", "-/"])
def test_a_name_that_is_none(bench: Bench, name: str) -> None:
    done = bench("data", "fetch", "--", name)
    assert done.code == 2
    assert "give fashion or OWNER/NAME" in done.err


def test_a_revision_of_what_has_none(bench: Bench) -> None:
    done = bench("data", "fetch", "fashion", "--revision", "main")
    assert done.code == 2
    assert "--revision requires a data set of the hub" in done.err
