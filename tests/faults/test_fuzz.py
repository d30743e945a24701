"""Arbitrary tables, configs and assignments are read or raise UserError, never anything else.

Each test takes a few seconds; with BENCH_FUZZ_SECONDS=600 it runs that many seconds, with another
seed in each round.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from benchmark.config.study import StudySettings, load_study, to_yaml
from clothclf.data.sources.kaggle_source import KaggleSource
from clothclf.data.sources.listing import Query, is_one_line
from clothclf.data.sources.selection import choose
from clothclf.data.sources.table import read_table
from clothclf.errors import UserError
from tests.faults.guard import nothing_but

SECONDS = float(os.environ.get("BENCH_FUZZ_SECONDS", "0"))
# Derandomized: the normal suite repeats the same inputs; further rounds use other seeds.
QUICK = settings(
    max_examples=150,
    deadline=5000,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, max_examples=1000, derandomize=False)
PROFILE = LONG if SECONDS else QUICK


def lasting(check: Callable[[], None]) -> None:
    """Run a property once, and with other seeds until BENCH_FUZZ_SECONDS have passed."""
    end = time.monotonic() + SECONDS
    with tempfile.TemporaryDirectory() as folder, nothing_but(Path(folder)):
        before = Path.cwd()
        set_hypothesis_home_dir(Path(folder) / ".hypothesis")
        os.chdir(folder)
        try:
            if not SECONDS:
                check()
            number = time.time_ns() % 2**31
            while time.monotonic() < end:
                number += 1
                print(f"seed {number}")
                seed(number)(check)()
        finally:
            os.chdir(before)


# Table reader

WORDS = ("id", "articleType", "1", "2", "a b", "../1", "/etc/passwd", "=1+1", "\ufeff")
CELLS = st.one_of(st.sampled_from(WORDS), st.text(max_size=12))
LINES = st.lists(CELLS, max_size=6).map(",".join)
ENDS = st.sampled_from(["\n", "\r\n", "\r", "\n\n", '"\n', "\0\n", "\x0b", "\u2028"])
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"])


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Table-like text with any kind of defect."""
    header = draw(st.sampled_from(["id,articleType", "id,articleType,name", "articleType,id"]))
    text = header + draw(ENDS)
    for line in draw(st.lists(LINES, max_size=12)):
        text += line + draw(ENDS)
    return text.encode(draw(ENCODINGS), errors="replace")


@PROFILE
@given(st.one_of(st.binary(max_size=400), tables()))
def a_table_is_read_or_refused(content: bytes) -> None:
    try:
        table = read_table(content, "t.csv", key="id")
    except UserError:
        return
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert table.lines == sorted(table.lines)
    assert len(table.lines) == len(table.rows)


@PROFILE
@given(st.one_of(tables(), st.binary(max_size=200)))
def a_listing_accounts_for_every_row(content: bytes) -> None:
    folder = Path("data")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in ("1", "2"):
        (folder / "images" / f"{name}.jpg").write_bytes(b"x")
    (folder / "styles.csv").write_bytes(content)
    try:
        expected = Query("articleType")
        listing = choose(KaggleSource(folder).list_images(expected), expected, "data")
    except UserError:
        return
    dropped = [finding for finding in listing.findings if finding.action == "dropped"]
    assert listing.rows_read == len(listing.rows) + len(dropped)
    assert set(listing.rows["id"]) <= {"1", "2"}
    assert all(is_one_line(label) and label for label in listing.rows["label"])


# Config loader

KEYS = st.one_of(
    st.sampled_from(
        ["study", "data", "train", "model", "seeds", "architectures", "tracking", "epochs", "name"]
    ),
    st.text(max_size=8),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=8),
    st.dates(),
    st.datetimes(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | SCALARS, inner, max_size=4),
    max_leaves=20,
)
TAGS = st.sampled_from(
    [
        "int",
        "float",
        "bool",
        "null",
        "timestamp",
        "binary",
        "set",
        "omap",
        "pairs",
        "map",
        "seq",
        "python/name:os.system",
        "python/object/apply:os.system",
    ]
)
MARKS = ("&a ", "*a", "<<: ", "? ", ": ", "- ", "[", "]", "{", "}", "|\n", "---\n", "...\n", "\n")
TOKENS = st.sampled_from(
    (*MARKS, "\t", "%TAG ! tag:x:\n", "'", '"', "\\ud800", "0x", "1:59", "#", "!!float ")
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Valid config with changed values, then with changed bytes."""
    values = yaml.safe_load(to_yaml(StudySettings(study="s", architectures=({"name": "a"},))))
    for _ in range(draw(st.integers(0, 3))):
        target = values
        while isinstance(target, dict) and target:
            key = draw(st.sampled_from(sorted(target, key=str)))
            if not isinstance(target[key], dict) or draw(st.booleans()):
                target[key] = draw(VALUES)
                break
            target = target[key]
    text = yaml.safe_dump(values, allow_unicode=draw(st.booleans()))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        tag = draw(st.one_of(TAGS.map(lambda name: f" !!{name} "), TOKENS))
        text = text[:place] + tag + text[place + draw(st.integers(0, 3)) :]
    return text.encode("utf-8", errors="surrogatepass")


DOCUMENTS = st.one_of(
    mutated(),
    VALUES.map(lambda value: yaml.safe_dump(value).encode()),
    st.lists(TOKENS | KEYS | TAGS.map(lambda name: f"!!{name} ")).map(
        lambda parts: "".join(parts).encode("utf-8", errors="surrogatepass")
    ),
    st.binary(max_size=300),
)


@PROFILE
@given(DOCUMENTS)
def a_config_is_read_or_refused(content: bytes) -> None:
    path = Path("c.yaml")
    path.write_bytes(content)
    try:
        study = load_study(path)
    except UserError:
        return
    path.write_text(to_yaml(study), encoding="utf-8")
    assert load_study(path) == study


PATHS = st.lists(KEYS, min_size=1, max_size=3).map(".".join)
ASSIGNMENTS = st.one_of(
    st.text(max_size=30),
    st.builds("{}={}".format, PATHS, st.text(max_size=20)),
    st.builds("{}={}".format, PATHS, TOKENS),
    st.builds("{}=!!{} {}".format, PATHS, TAGS, st.text(max_size=8)),
    st.builds(lambda p, v: f"{p}={yaml.safe_dump(v, default_flow_style=True)}", PATHS, VALUES),
)


@PROFILE
@given(st.lists(ASSIGNMENTS, max_size=3))
def assignments_are_applied_or_refused(assignments: list[str]) -> None:
    path = Path("c.yaml")
    path.write_text("study: s\narchitectures: [a]\n")
    try:
        study = load_study(path, assignments)
    except UserError:
        return
    path.write_text(to_yaml(study), encoding="utf-8")
    assert load_study(path) == study


@pytest.mark.parametrize(
    "check",
    [
        a_table_is_read_or_refused,
        a_listing_accounts_for_every_row,
        a_config_is_read_or_refused,
        assignments_are_applied_or_refused,
    ],
    ids=lambda check: check.__name__.replace("_", " "),
)
def test_whatever_is_given(check: Callable[[], None]) -> None:
    lasting(check)
