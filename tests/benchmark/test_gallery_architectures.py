"""The page of architectures' costs: what it shows, and what it refuses to read."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.gallery.architectures import (
    ARCHITECTURES_PAGE,
    COSTS_FILE,
    TITLES,
    write_architectures_page,
)
from benchmark.gallery.cost_rows import MAX_BYTES, MAX_TEXT, read_cost_rows
from clothclf.cost.catalogue import COLUMNS, CatalogueRow, read_catalogue
from clothclf.errors import CostError
from tests.benchmark.drawn_costs import cost_row, draw_rows, write_costs


def page_of(folder: Path, *rows: CatalogueRow) -> str:
    file = write_costs(folder / "costs.csv", rows)
    assert write_architectures_page(file, folder / "site") == len(rows)
    return (folder / "site" / ARCHITECTURES_PAGE).read_text("utf-8")


def cells_of(page: str, name: str) -> dict[str, str]:
    """Source of the cells of a row, by column."""
    row = next(row for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL) if f'"#{name}"' in row)
    return dict(zip(TITLES, re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL), strict=True))


def text_of(cell: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", "", cell).split())


def data_of(page: str) -> Any:
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_every_number_links_to_a_record_with_every_column(tmp_path: Path) -> None:
    rows = draw_rows(30)
    page = page_of(tmp_path, *rows)
    data = data_of(page)
    assert data["columns"] == COLUMNS
    assert [dict(zip(COLUMNS, record, strict=True)) for record in data["rows"]] == [
        row.cells() for row in rows
    ]
    numbers = 0
    for row in rows:
        for title, cell in cells_of(page, row.architecture).items():
            if re.search(r"\d", text_of(cell)) and title != "family":
                assert f'href="#{row.architecture}"' in cell
                numbers += 1
    assert numbers > 6 * len(rows)


def test_the_table_is_beside_the_page(tmp_path: Path) -> None:
    rows = draw_rows(5)
    assert f'href="{COSTS_FILE}"' in page_of(tmp_path, *rows)
    assert read_catalogue(tmp_path / "site" / COSTS_FILE) == rows


def test_figures_of_a_row(tmp_path: Path) -> None:
    deployed = cost_row(
        "mobileone_s0", macs=275_000_000, params=2_080_000, training_macs=1_052_000_000,
        training_params=5_290_000, macs_flopth=1_062_520_000, macs_fvcore="", image_size="1024x768",
        receptive_field="global (attention in blocks.0 (A; B)); 1316 px without)",
        verdict="explained",
    )  # fmt: skip
    cells = cells_of(page_of(tmp_path, deployed), "mobileone_s0")
    assert {title: text_of(cell) for title, cell in cells.items()} == {
        "architecture": "mobileone_s0",
        "parameters (M)": "2.08 (d)",
        "MACs (G)": "0.275 (d)",
        "px": "1024x768",
        "receptive field (px)": "1,316 global",
        "activations (M)": "11.11",
        "flopth": "+1.0 %",  # of the training form, which it counts
        "fvcore": "–",
        "verdict": "explained",
        "family": "resnet",
    }
    assert 'data-value="1024"' in cells["px"]
    assert 'data-value="275000000"' in cells["MACs (G)"]


def test_an_architecture_without_figures_has_a_record_but_no_dot(tmp_path: Path) -> None:
    failed = CatalogueRow.failed("broken_net", "broken_net: it cannot be built")
    page = page_of(tmp_path, failed, cost_row("resnet50"))
    cells = cells_of(page, "broken_net")
    assert text_of(cells["MACs (G)"]) == "–"
    assert "data-value" not in cells["MACs (G)"]
    assert list(data_of(page)["spots"]) == ["resnet50"]
    assert page_of(tmp_path, failed).count("<svg") == 0


def test_a_table_from_before_families_were_added_has_no_menu_of_them(tmp_path: Path) -> None:
    file = tmp_path / "costs.csv"
    cells = cost_row("resnet50").cells()
    del cells["family"], cells["tags"], cells["macs_fvcore"]
    file.write_text(f"{','.join(cells)}\n{','.join(cells.values())}\n")
    assert write_architectures_page(file, tmp_path) == 1
    page = (tmp_path / ARCHITECTURES_PAGE).read_text("utf-8")
    assert 'data-only="family"' not in page
    assert 'data-only="verdict"' in page
    assert text_of(cells_of(page, "resnet50")["fvcore"]) == "–"


def test_hostile_text_is_escaped_and_no_formula(tmp_path: Path) -> None:
    hostile = '</script><img src=x onerror="alert(1)">'
    page = page_of(tmp_path, cost_row("resnet50", reason=f"=1+1{hostile}", verdict="disputed"))
    assert "<img" not in page
    assert data_of(page)["rows"][0][COLUMNS.index("reason")].endswith(hostile)
    with (tmp_path / "site" / COSTS_FILE).open(newline="") as lines:
        assert next(csv.DictReader(lines))["reason"].startswith("'=")


def edited(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


WRONG = {
    "a number": (edited("25557032", "2.5e7"), "line 2, column params: '2.5e7' is not a whole"),
    "a huge number": (edited("25557032", "9" * 19), "line 2, column params"),
    "a sign": (edited(",224,", ",-224,"), "line 2, column image_size: '-224' is not a size"),
    "a verdict": (edited("agreed", "sure"), "line 2, column verdict: 'sure' is none of agreed"),
    "a field": (edited("427 px", "wide"), "line 2, column receptive_field: 'wide' is not a"),
    "a path": (edited("vgg16", "../vgg16"), "line 3, column architecture: '../vgg16' is not"),
    "markup": (edited("vgg16", "<b>"), "line 3, column architecture: '<b>' is not the name"),
    "no name": (edited("vgg16", ""), "line 3, column architecture: '' is not the name"),
    "a name twice": (edited("vgg16", "resnet50"), "column architecture: resnet50 is in an ear"),
    "a family": (edited("resnet,a1", "res net,a1"), "line 2, column family: 'res net' is not"),
    "tags": (edited("a1_in1k", "a1;in1k"), "line 2, column tags: 'a1;in1k tv_in1k' are not"),
    "a long cell": (edited("a1_in1k", "a" * (MAX_TEXT + 1)), "column tags: is longer than 4,000"),
    "a cut line": (lambda text: text[:-20], "line 3: has 15 cells instead of 16"),
    "another line": (lambda text: f"{text}1,2\n", "line 4: has 2 cells instead of 16"),
    "a quote": (lambda text: f'{text}"', "is not CSV"),
    "a field of a MiB": (lambda text: text + "a" * 2**20, "is not CSV: field larger than"),
    "a new column": (edited("flops,", "flops,price,"), "column 'price' is unknown"),
    "no column": (edited("params,", ""), "column params is missing"),
    "a column twice": (edited("params,", "macs,"), "column params is missing"),
    "no rows": (lambda text: text.splitlines()[0], "has no rows; write it with `bench cost"),
    "nothing": (lambda _: "", "is not a table of `bench cost --all-timm"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_malformed_is_one_sentence_with_its_place(wrong: str, tmp_path: Path) -> None:
    file = write_costs(tmp_path / "costs.csv", [cost_row("resnet50"), cost_row("vgg16")])
    edit, message = WRONG[wrong]
    file.write_text(edit(file.read_text()))
    with pytest.raises(CostError, match=re.escape(message)) as error:
        write_architectures_page(file, tmp_path / "site")
    assert str(error.value).startswith(str(file))
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "site").exists()


def test_what_is_no_text_too_large_or_missing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "costs.csv"
    with pytest.raises(CostError, match=r"costs\.csv: cannot be read: No such file"):
        read_cost_rows(file)
    file.write_bytes(b"architecture\nresnet50\n\xff\n")
    with pytest.raises(CostError, match="line 3: is not UTF-8 text"):
        read_cost_rows(file)
    with file.open("wb") as sparse:
        sparse.truncate(MAX_BYTES + 1)
    with pytest.raises(CostError, match="is larger than 16 MiB"):
        read_cost_rows(file)
    with pytest.raises(CostError, match="cannot be read: Is a directory"):
        read_cost_rows(tmp_path)
