"""Cost catalogue: one row per name, and resume from a partial file."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from clothclf.cost.catalogue import COLUMNS, CatalogueRow, count_catalogue, read_catalogue
from clothclf.cost.summary import BEGIN, END, summarize, write_summary
from clothclf.errors import CostError

HEADER = (
    "architecture,image_size,params,macs,flops,macs_flopth,macs_fvcore,macs_torch,verdict,reason,"
    "activations,receptive_field,training_macs,training_params"
)
NAMES = ["test_vit", "no_such_network", "test_resnet", "mobileone_s0"]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[CatalogueRow]]:
    file = tmp_path_factory.mktemp("catalogue") / "sub" / "costs.csv"
    result: list[CatalogueRow] = []
    count_catalogue(NAMES, file, workers=2, on_row=result.append)
    return file, result


def test_each_name_is_a_row_in_order_and_a_failure_has_its_reason(
    counted: tuple[Path, list[CatalogueRow]],
) -> None:
    file, result = counted
    assert file.read_text().splitlines()[0] == HEADER
    rows = read_catalogue(file)
    assert [row.architecture for row in rows] == NAMES
    assert {row.architecture for row in result} == set(NAMES)
    assert (rows[1].macs, rows[1].verdict) == ("", "unchecked")
    assert "no_such_network" in rows[1].reason
    for row in (rows[0], rows[2]):
        assert row.image_size == "160"
        assert int(row.flops) == 2 * int(row.macs)
        assert row.macs == row.macs_by_counter["torch"]
        assert row.training_macs == ""
    deployed = rows[3]
    assert (
        int(deployed.macs) < int(deployed.training_macs) == int(deployed.macs_by_counter["torch"])
    )
    assert int(deployed.params) < int(deployed.training_params)
    assert rows[0].receptive_field.startswith("global (attention")
    assert rows[2].receptive_field == "167 px"


def test_what_is_there_is_not_counted_again(
    counted: tuple[Path, list[CatalogueRow]], tmp_path: Path
) -> None:
    file = tmp_path / "costs.csv"
    lines = counted[0].read_text().splitlines(keepends=True)
    saved = lines[1].replace("test_vit,160", "test_vit,161")
    file.write_text(lines[0] + saved + "test_resnet,160,1234")  # cut off while it was written
    result: list[CatalogueRow] = []
    count_catalogue(["test_resnet", "test_vit"], file, workers=1, on_row=result.append, quick=True)
    assert [row.architecture for row in result] == ["test_resnet"]
    rows = read_catalogue(file)
    assert [row.architecture for row in rows] == ["test_resnet", "test_vit"]
    assert rows[1].image_size == "161"
    assert (rows[0].verdict, rows[0].macs_by_counter["flopth"]) == ("unchecked", "")
    assert rows[0].macs == lines[3].split(",")[3]


def test_a_file_from_before_a_counter_was_added_is_read(tmp_path: Path) -> None:
    file = tmp_path / "costs.csv"
    cells = row("vgg16", 1_000, 1_010, "agreed").cells()
    del cells["macs_fvcore"]
    file.write_text(f"{','.join(cells)}\n{','.join(cells.values())}\n")
    (read,) = read_catalogue(file)
    assert read.macs_by_counter == {"flopth": "1010", "fvcore": "", "torch": "1000"}
    file.write_text(file.read_text().replace("params", "parameters"))
    with pytest.raises(CostError, match="not a cost table"):
        read_catalogue(file)


def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(CostError, match="not a cost table"):
        count_catalogue(["test_vit"], file, workers=1, on_row=lambda _: None)
    assert file.read_text() == "a,b\n1,2\n"


def row(name: str, macs: int, flopth: int | None, verdict: str, reason: str = "") -> CatalogueRow:
    figures = {"macs": str(macs), "macs_torch": str(macs), "macs_fvcore": str(macs)}
    named = {"architecture": name, "verdict": verdict, "reason": reason, "image_size": "224"}
    return CatalogueRow.from_cells(
        {**figures, **named, "macs_flopth": "" if flopth is None else str(flopth)}
    )


def test_the_summary_says_how_far_each_counter_lies() -> None:
    rows = [
        row("vgg16", 1_000, 1_010, "agreed"),
        row("resnet50", 1_000, 970, "agreed"),
        row("vit", 1_000, 100, "explained", "flopth -90.0%: tokens in Linear -91.0%, norms +1.0%"),
        row("lstm", 1_000, None, "unchecked", "flopth gives no figure: it fails"),
        CatalogueRow.failed("broken", "it cannot be built"),
    ]
    text = summarize(rows)
    assert "Of 5 architectures, 4 have a headline." in text
    assert "| agreed | 2 | 40.0% |" in text
    assert "| flopth, unmodified | 3 | 33.3% | 66.7% | 3.0% | -90.0% (vit) |" in text
    assert "| flopth: tokens in Linear | 1 |" in text
    assert "| vgg16 | 224 px |" in text


def test_a_deployed_form_is_no_distance_of_a_counter() -> None:
    deployed = row("b", 275, 1052, "explained")
    text = summarize([replace(deployed, training_macs="1052", training_params="5")])
    assert "| flopth, unmodified | 1 | 100.0% | 100.0% | 0.0% |" in text


def test_the_summary_replaces_its_region_alone(tmp_path: Path) -> None:
    catalogue, document = tmp_path / "costs.csv", tmp_path / "costs.md"
    with catalogue.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerow(row("vgg16", 1_000, 1_010, "agreed").cells())
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_summary(catalogue, document)
    write_summary(catalogue, document)
    text = document.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert text.count("Of 1 architectures") == 1


def test_a_document_without_marks_is_refused(tmp_path: Path) -> None:
    catalogue, document = tmp_path / "costs.csv", tmp_path / "costs.md"
    catalogue.write_text(HEADER + "\n" + "vgg16" + "," * HEADER.count(",") + "\n")
    document.write_text("no marks")
    with pytest.raises(CostError, match="no region"):
        write_summary(catalogue, document)
