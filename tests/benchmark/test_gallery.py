"""`bench gallery`: a site of packed studies, in which every number is that of a record."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from benchmark.config.study import StudySettings
from benchmark.errors import PackError, ReportError
from benchmark.gallery.site import MARKER, build_gallery
from benchmark.report.write import read_report
from benchmark.sharing.pack import pack
from benchmark.workflows.share_runs import merge_packs
from clothclf.errors import CostError
from tests.benchmark.conftest import run_bench
from tests.benchmark.drawn_costs import draw_rows, write_costs
from tests.benchmark.drawn_packs import draw_data, draw_packs, draw_study
from tests.benchmark.packed_study import Copy, contents

MAX_SECONDS = 10.0
MANY = 200
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


class Page(HTMLParser):
    """Links with the number of their cell, and the places that links can lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.places: set[str] = set()
        self.links: list[tuple[str, str]] = []
        """Target and sort value of the cell."""
        self.tags: list[str] = []
        self.rows = 0
        self.value = ""
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.tags.append(tag)
        self.rows += tag == "tr" and "data-tags" in values
        if "id" in values:
            self.places.add(values["id"])
        if tag in ("td", "th"):
            self.value = values.get("data-value", "")
        for name in ("href", "src"):
            if name in values and not values[name].startswith("data:"):
                self.links.append((unquote(values[name]), self.value))


def packed(folder: Path, name: str, architectures: Sequence[str], **settings: Any) -> Path:
    """A pack of a study of its own store."""
    data = settings.pop("data", None) or draw_data("leaves", 5, 60, 1)
    draw_study(folder / name, 1, data, architectures, study=name, **settings)
    pack(folder / name, name, folder / f"{name}.bench")
    return folder / f"{name}.bench"


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Packs of three studies, and two packs of a fourth, which share a run."""
    folder = tmp_path_factory.mktemp("packs")
    data = draw_data("leaves", 5, 60, 1)
    names, store = ("resnet18", "vgg16", "convnext_tiny"), folder / "whole"
    draw_study(store, 1, data, names, seeds=(0, 1), study="leaves")
    shared = []
    for place, chosen in enumerate((("resnet18", "vgg16"), ("vgg16", "convnext_tiny"))):
        part = folder / f"part{place}"
        draw_study(part, 1, data, chosen, seeds=(0, 1), study="leaves")
        shared.append(folder / f"leaves{place}.bench")
        pack(part, "leaves", shared[-1])
    return [*draw_packs(folder, 3, test_images=60), *shared]


@pytest.fixture(scope="module")
def site(packs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("gallery") / "site"
    built = build_gallery(packs, site)
    assert (built.studies, built.runs, built.refused, built.conflicts) == (4, 15, [], [])
    return site


def test_the_index_has_a_row_for_each_architecture_of_each_study(site: Path) -> None:
    assert Page(site / "index.html").rows == 3 * 3 + 3
    assert len(list((site / "studies").iterdir())) == 4


def test_all_links_lead_somewhere(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) == 5
    for path, page in pages.items():
        for link, _ in page.links:
            name, _, place = link.partition("#")
            target = (path.parent / name).resolve() if name else path
            assert target.is_relative_to(site), link
            assert target.is_file(), link
            assert not place or place in pages[target].places, link


def test_every_number_of_the_index_is_that_of_the_record_that_it_links_to(site: Path) -> None:
    found = 0
    for link, value in Page(site / "index.html").links:
        if not link.endswith(".json"):
            continue
        record = json.loads((site / link).read_text("utf-8"))
        measured, cost = record["measured"], record["cost"]
        accuracy = record["test"]["metrics"]["accuracy"]
        assert float(value) in (
            accuracy, cost["macs"], cost["params"], measured["latency_ms_median"]
        ), link  # fmt: skip
        found += 1
    assert found == 9 * 4 + 3 * 3  # the mean of two seeds links to both records


def test_runs_of_several_packs_are_reported_as_merged_ones(
    packs: list[Path], site: Path, tmp_path: Path
) -> None:
    study = StudySettings.model_validate(
        {
            "study": "leaves",
            "data": {"image_size": 112, "source": "folder", "path": tmp_path},
            "architectures": ["resnet18", "vgg16", "convnext_tiny"],
            "model": {"mode": "finetune"},
            "seeds": [0, 1],
            "tracking": {"folder": tmp_path / "store"},
        }
    )
    assert len(merge_packs(study, packs[3:]).added) == 6
    [folder] = (site / "studies").glob("leaves-*")
    report = read_report(study)
    assert len(report.analyses) == 1
    assert (folder / "report.json").read_text("utf-8") == report.text("json")


def test_studies_of_another_name_with_the_same_data_and_settings_are_one(tmp_path: Path) -> None:
    names = ("resnet18", "vgg16", "resnet50")
    paths = [packed(tmp_path, "a", names[:2]), packed(tmp_path, "b", names[1:])]
    built = build_gallery(paths, tmp_path / "site")
    assert (built.studies, built.runs, built.conflicts) == (1, 3, [])


@pytest.mark.parametrize("cores", [1, 2])
def test_the_same_packs_give_the_same_bytes(
    cores: int, packs: list[Path], site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    again = tmp_path / "again"
    for _ in range(2):
        build_gallery([*packs, packs[0]], again)
        assert contents(again) == contents(site)
    assert os.listdir(tmp_path) == ["again"]


def test_an_invalid_pack_is_left_out(packs: list[Path], tmp_path: Path) -> None:
    def better(values: dict[str, Any]) -> None:
        values["test"]["metrics"]["accuracy"] = 0.99

    bad = tmp_path / "bad.bench"
    bad.write_bytes(Copy(packs[0]).edit(better).zipped())
    done = run_bench(tmp_path, "gallery", str(packs[1]), str(bad), "gone.bench", "-o", "site")
    assert (done.code, "1 study with 3 runs, 2 left out" in done.out) == (2, True), done.err
    assert "bad.bench: run " in done.err
    assert "test accuracy is 0.99" in done.err
    assert "gone.bench: is not a file" in done.err
    assert "Traceback" not in done.err
    assert Page(tmp_path / "site/index.html").rows == 3
    with pytest.raises(PackError, match=r"bad\.bench"):
        build_gallery([bad], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_no_report_can_show_is_left_out(packs: list[Path], tmp_path: Path) -> None:
    def without_accuracy(values: dict[str, Any]) -> None:
        del values["test"]["metrics"]["accuracy"]

    odd = tmp_path / "odd.bench"
    odd.write_bytes(Copy(packs[0]).edit(without_accuracy).zipped())
    built = build_gallery([odd, packs[1]], tmp_path / "site")
    assert built.studies == 1
    [refused] = built.refused
    assert "odd.bench: study study-000 has values that no report can show" in refused


def test_the_first_of_contradicting_packs_counts(packs: list[Path], tmp_path: Path) -> None:
    def other_losses(values: dict[str, Any]) -> None:
        values["training"]["epochs"][0]["train_loss"] += 1

    (tmp_path / "other.bench").write_bytes(Copy(packs[0]).edit(other_losses).zipped())
    done = run_bench(tmp_path, "gallery", str(packs[0]), "other.bench")
    assert done.code == 1
    assert "other.bench: run " in done.err
    assert "such as training.epochs.0.train_loss" in done.err
    build_gallery(packs[:1], tmp_path / "one")
    assert contents(tmp_path / "site") == contents(tmp_path / "one")


@pytest.mark.parametrize("what", ["file", "folder", "other marker"])
def test_only_a_gallery_is_replaced(what: str, packs: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "target"
    if what == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        name = MARKER if what == "other marker" else "mine.txt"
        (target / name).write_text('{"format": "mine"}')
    before = contents(tmp_path)
    with pytest.raises(ReportError, match=r"target: (is not|holds something)"):
        build_gallery(packs[:1], target)
    assert contents(tmp_path) == before


def test_a_build_that_fails_keeps_the_old_site(packs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "site").symlink_to("real")
    build_gallery(packs[:1], tmp_path / "site")
    before = contents(tmp_path / "real")
    assert (tmp_path / "site").is_symlink()
    assert before
    with pytest.raises(CostError, match=r"costs\.csv"):
        build_gallery(packs[1:2], tmp_path / "site", tmp_path / "costs.csv")
    assert contents(tmp_path / "real") == before
    assert sorted(os.listdir(tmp_path)) == ["real", "site"]


def test_the_costs_of_all_architectures_have_a_page(packs: list[Path], tmp_path: Path) -> None:
    costs = write_costs(tmp_path / "costs.csv", draw_rows(30))
    built = build_gallery(packs[:1], tmp_path / "site", costs)
    assert built.architectures == 30
    links = [link for link, _ in Page(tmp_path / "site" / "index.html").links]
    assert "architectures.html" in links
    assert "index.html" in [
        link for link, _ in Page(tmp_path / "site" / "architectures.html").links
    ]


def test_text_of_packs_is_escaped(tmp_path: Path) -> None:
    path = packed(tmp_path, "hostile", ("resnet18", "vgg16"), data=draw_data(HOSTILE, 3, 30, 1))
    build_gallery([path], tmp_path / "site")
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) == 2
    for path in pages:
        page = Page(path)
        assert "img" not in page.tags
        assert HOSTILE[2:] not in path.read_text("utf-8")
        assert "&lt;script&gt;alert(1)" in path.read_text("utf-8")
        assert page.tags.count("script") == (2 if path.parent.name == "site" else 3)


def test_names_of_folders_are_not_those_of_a_pack(tmp_path: Path) -> None:
    path = packed(tmp_path, "CON..x", ("resnet18",))
    build_gallery([path], tmp_path / "site")
    [folder] = (tmp_path / "site" / "studies").iterdir()
    assert folder.name.startswith("con-x-")
    assert "CON..x" in (folder / "index.html").read_text("utf-8")


@pytest.mark.slow
def test_two_hundred_studies_are_built_in_ten_seconds(tmp_path: Path) -> None:
    paths = draw_packs(tmp_path, MANY)
    before = os.times()
    started = time.perf_counter()
    assert build_gallery(paths, tmp_path / "site").studies == MANY
    waited, after = time.perf_counter() - started, os.times()
    worked = sum(after[:4]) - sum(before[:4])
    print(f"{waited:.1f} s, {worked:.1f} s of a core; load {os.getloadavg()[0]:.1f}")
    # Where others have the cores, the clock tells of them: then the work of two cores counts.
    idle = os.getloadavg()[0] <= (os.cpu_count() or 1)
    assert (waited if idle else worked / 2) < MAX_SECONDS
