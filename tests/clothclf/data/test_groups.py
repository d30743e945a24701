"""Groups (`data.split.group`) stay on one side of the split, and classes keep their shares."""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clothclf.data.dataset import DataSet, fingerprint
from clothclf.data.groups import GROUP, connected, groups_to_split
from clothclf.data.prepare import prepare
from clothclf.data.splits import SPLITS, assign_splits
from clothclf.errors import DataError, SettingsError
from clothclf.settings import DataSettings, SplitSettings
from tests.conftest import draw_jpeg

SHARES = [(0.64, 0.16, 0.2), (0.5, 0.25, 0.25), (0.34, 0.33, 0.33), (0.8, 0.1, 0.1)]


@st.composite
def tables(draw: st.DrawFn, one_label: bool) -> pd.DataFrame:
    """Images of 1 to 5 classes in groups of 1 to 60, each class in at least 3; some duplicates."""
    classes = draw(st.integers(1, 5))
    groups = draw(st.integers(3 * classes, 24))
    most = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = []
    for number in range(groups):
        labels = rng.integers(0, classes, rng.integers(1, most + 1))
        if one_label or number < 3 * classes:
            labels[:] = number % classes
        rows += [(f"class {label}", f"group {number}") for label in labels]
    frame = pd.DataFrame(rows, columns=["label", GROUP])
    hashes = np.arange(len(frame))
    if draw(st.booleans()) and not one_label:  # exact duplicates, which connect groups
        hashes[rng.integers(0, len(frame), 3)] = 0
    return frame.assign(id=frame.index.astype(str), pixel_hash=hashes.astype(str))


def split(frame: pd.DataFrame, shares: tuple[float, float, float], seed: int) -> pd.DataFrame:
    train, valid, test = shares
    expected = SplitSettings(train=train, valid=valid, test=test, seed=seed, group="product")
    groups = groups_to_split(frame, expected)
    return frame.assign(split=assign_splits(frame["label"], groups, expected))


@settings(max_examples=1000, deadline=None)
@given(tables(one_label=True), st.sampled_from(SHARES), st.integers(0, 99))
def test_no_group_is_on_two_sides_and_shares_are_met_within_the_largest_group(
    frame: pd.DataFrame, shares: tuple[float, float, float], seed: int
) -> None:
    created = split(frame, shares, seed)
    assert created.groupby(GROUP)["split"].nunique().max() == 1
    for _, members in created.groupby("label"):
        largest = members[GROUP].value_counts().iloc[0]
        # Three groups for 80, 10 and 10 % fill one split each, whatever their sizes.
        allowed = largest * max(1, 3 * shares[0] - 1) + 1
        for name, share in zip(SPLITS, shares, strict=True):
            count = (members["split"] == name).sum()
            assert count > 0
            assert abs(count - share * len(members)) <= allowed


@settings(max_examples=1000, deadline=None)
@given(tables(one_label=False), st.sampled_from(SHARES), st.integers(0, 99))
def test_groups_of_several_classes_and_their_duplicates_stay_together(
    frame: pd.DataFrame, shares: tuple[float, float, float], seed: int
) -> None:
    components = connected(frame[GROUP], frame["pixel_hash"])
    try:
        created = split(frame, shares, seed)
    except DataError:  # duplicates may leave a class fewer than three groups
        assert frame.groupby("label")[GROUP].nunique().min() >= 3
        assert frame.assign(part=components).groupby("label")["part"].nunique().min() < 5
        return
    for column in (GROUP, "pixel_hash"):
        assert created.groupby(column)["split"].nunique().max() == 1
    largest = frame.groupby(components).size().max()
    for _, members in created.groupby("label"):
        for name, share in zip(SPLITS, shares, strict=True):
            count = (members["split"] == name).sum()
            assert abs(count - share * len(members)) <= 2 * largest


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["", *"abcd"]), st.sampled_from("abcdefgh")), min_size=1))
def test_connected_rows_share_values_step_by_step(rows: list[tuple[str, str]]) -> None:
    """As found one by one: rows that share a value get one number, empty text is no value."""
    numbers = list(range(len(rows)))
    for (i, one), (j, other) in itertools.product(enumerate(rows), repeat=2):
        if (one[0] and one[0] == other[0]) or one[1] == other[1]:
            was, to = numbers[i], numbers[j]
            numbers = [to if number == was else number for number in numbers]
    columns = zip(*rows, strict=True)
    result = connected(*(pd.Series(column, dtype=object) for column in columns)).tolist()
    assert len(set(zip(numbers, result, strict=True))) == len(set(numbers)) == len(set(result))


def test_the_row_order_changes_nothing_and_the_seed_does() -> None:
    frame = pd.DataFrame(
        {"label": [f"{n % 3}" for n in range(300)], GROUP: [f"g{n // 7 % 40}" for n in range(300)]}
    ).assign(id=[str(n) for n in range(300)], pixel_hash=[str(n) for n in range(300)])
    first = split(frame, SHARES[0], 0)["split"]
    assert (
        split(frame.sample(frac=1, random_state=1), SHARES[0], 0)["split"]
        .sort_index()
        .equals(first)
    )
    assert not split(frame, SHARES[0], 1)["split"].equals(first)


# From a table of images to the manifest

ROWS = [(f"{label}{n}.jpg", label, f"{label}{n // 4}") for label in "ab" for n in range(40)]
"""Two classes of ten products each, of which there are four images."""


def table(folder: Path, rows: list[tuple[str, ...]], header: str = "path,label,product") -> Path:
    folder.mkdir(exist_ok=True)
    for number, (name, *_) in enumerate(rows):
        (folder / name).write_bytes(draw_jpeg(number))
    text = io.StringIO()
    csv.writer(text).writerows([header.split(","), *rows])
    (folder / "table.csv").write_text(text.getvalue())
    return folder / "table.csv"


def run(path: Path, group: str | None = "product", **options: object) -> DataSet:
    split = {"group": group, **options.pop("split", {})}  # type: ignore[dict-item]
    values = {"source": "table", "label": "label", "path": path, "image_size": 8}
    created = DataSettings.model_validate({**values, "split": split, **options})
    return prepare(created, path.parent / "cache")


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        run(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_manifest_has_the_groups_only_where_asked(tmp_path: Path) -> None:
    path = table(tmp_path, ROWS)
    grouped, plain = run(path), run(path, group=None)
    assert grouped.manifest[GROUP].tolist() == [product for _, _, product in ROWS]
    assert grouped.manifest.groupby(GROUP)["split"].nunique().max() == 1
    assert (grouped.summary.groups, grouped.summary.groups_across_splits) == (20, 0)
    assert GROUP not in plain.manifest
    assert plain.summary.groups == 0
    joined = plain.manifest.merge(grouped.manifest[["id", GROUP]], on="id")
    assert joined.groupby(GROUP)["split"].nunique().max() > 1


def test_the_fingerprint_has_the_groups_only_where_asked(tmp_path: Path) -> None:
    manifest = run(table(tmp_path, ROWS)).manifest
    others = manifest.assign(**{GROUP: "other"})
    plain = manifest.drop(columns=GROUP)
    assert len({fingerprint(frame) for frame in (manifest, others, plain)}) == 3


def test_groups_are_joined_by_exact_and_near_duplicates(tmp_path: Path) -> None:
    """An image of every product of a is one of the next product's too: they are one group."""
    path = table(tmp_path, ROWS)
    for n in range(3, 23, 4):
        (tmp_path / f"a{n + 1}.jpg").write_bytes((tmp_path / f"a{n}.jpg").read_bytes())
    for options in ({}, {"split": {"keep_near_duplicates_together": True}}):
        manifest = run(path, **options).manifest  # type: ignore[arg-type]
        joined = manifest[GROUP].isin([f"a{n}" for n in range(6)])
        assert manifest.loc[joined, "split"].nunique() == 1
        assert manifest.groupby(GROUP)["split"].nunique().max() == 1
    assert "near_duplicate_group" in manifest
    apart = run(path, split={"keep_exact_duplicates_together": False}).manifest
    assert apart.loc[joined, "split"].nunique() > 1


def test_numbers_with_and_without_a_fraction_are_one_group(tmp_path: Path) -> None:
    rows = [(name, label, f"{n // 2}{'.0' * (n % 2)}") for n, (name, label, _) in enumerate(ROWS)]
    assert run(table(tmp_path, rows)).summary.groups == 40


def test_an_unknown_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    message = refusal(table(tmp_path, ROWS), group="produkt")
    assert "no column 'produkt' (did you mean product?)" in message
    assert "split.group" in message


@pytest.mark.parametrize("missing", ["", "NaN", " null "])
def test_images_without_a_group_are_refused_unless_excluded(tmp_path: Path, missing: str) -> None:
    rows = [(name, label, missing if name in ("a5.jpg", "b1.jpg") else product)
            for name, label, product in ROWS]  # fmt: skip
    path = table(tmp_path, rows)
    message = refusal(path)
    assert "2 of 80 images have no value in column 'product', the first is a5.jpg" in message
    assert "data.exclude" in message
    (tmp_path / "out.txt").write_text("a5.jpg\nb1.jpg\n")
    assert len(run(path, exclude=tmp_path / "out.txt").manifest) == 78


def test_groups_too_large_to_split_are_refused_with_their_sizes(tmp_path: Path) -> None:
    rows = [(name, label, "b" if label == "b" and int(name[1:-4]) < 30 else "rest" if label == "b"
             else product) for name, label, product in ROWS]  # fmt: skip
    message = refusal(table(tmp_path, rows))
    assert "class 'b' has 40 images in 2 groups of 'product' (30, 10 images)" in message
    assert "leave none for the valid split" in message or "for the test split" in message


@pytest.mark.parametrize("source", ["demo", "folder"])
def test_a_source_without_columns_says_what_to_do(source: str, tmp_path: Path) -> None:
    path = None if source == "demo" else tmp_path
    with pytest.raises(SettingsError, match=f"source {source} takes no data.split.group.*table"):
        DataSettings(source=source, path=path, split=SplitSettings(group="product"))


def test_groups_across_given_splits_are_counted_and_not_moved(tmp_path: Path) -> None:
    parts = ["train", "train", "valid", "test"] * 2 + ["train"] * 4 + ["valid"] * 4 + ["test"] * 4
    rows = [(*row, parts[n % len(parts)]) for n, row in enumerate(ROWS)]
    path = table(tmp_path, rows, "path,label,product,part")
    created = run(path, split={"column": "part"})
    assert Counter(created.manifest["split"]) == Counter(part for *_, part in rows)
    across = created.manifest.groupby(GROUP)["split"].nunique().gt(1).sum()
    assert created.summary.groups_across_splits == across > 0
    again = run(path, split={"column": "part", "given": "ignore"})
    assert again.summary.groups_across_splits == 0
