"""`bench data stats` of data with groups."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmark.workflows.data_stats import _conflicts, describe
from tests.clothclf.data.test_groups import ROWS, run, table


def test_groups_are_counted_with_the_largest_and_those_across_splits(tmp_path: Path) -> None:
    rows = [(name, label, "big" if label == "a" and product < "a2" else product)
            for name, label, product in ROWS]  # fmt: skip
    parts = [["train", "train", "valid", "test"][n % 4] for n in range(len(rows))]
    given = [(*row, part) for row, part in zip(rows, parts, strict=True)]
    path = table(tmp_path, given, "path,label,product,part")
    drawn = describe(run(path))
    assert "groups       19, the largest (big) has 8 images; 0 groups across splits\n" in drawn
    saved = describe(run(path, split={"column": "part"}))
    assert "the largest (big) has 8 images; 19 groups across splits\n" in saved
    assert "given splits are kept: these groups leak into validation or test" in saved
    assert "groups   " not in describe(run(path, group=None))


def test_a_large_group_of_duplicates_is_cut_with_every_label_shown() -> None:
    labels = ["a"] * 29 + ["b"]
    manifest = pd.DataFrame(
        {"id": [f"i{n:02}" for n in range(30)], "label": labels, "pixel_hash": "same"}
    )
    (line,) = _conflicts(manifest)
    assert line.strip().startswith("i00 a, i29 b, i01 a, ")
    assert line.endswith(" and 20 more")
