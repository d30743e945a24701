"""Valid CSV is read unchanged; only what a strict reader rejects is repaired."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clothclf.data.sources.table import LINE_BREAK, NOT_UTF8, read_table

STANDARD = {
    "line breaks": 'a,b,c\n1,2,3\n"Once upon \na time",5,6\n7,8,9\n',
    "line breaks that look like rows": 'a,b,c\n1,"x\ny,2,3\nz,4,5",6\n7,8,9\n',
    "quotes and line breaks": 'a,b\n1,"ha \n""ha"" \nha"\n3,4\n',
    "commas": 'a,b\n"1,2","John ""J"", Doe"\n',
    "JSON": 'a,b\n1,"{""type"": ""Point"", ""coordinates"": [102.0, 0.5]}"\n',
    "a header with line breaks": '"a\nunit",b\n1,"x\ny"\n',
    "CR LF": 'a,b\r\n1,"x\r\ny"\r\n3,4\r\n',
    "no end of the last line": 'a,b\n1,"2\n3"',
}


@pytest.mark.parametrize("name", STANDARD)
def test_standard_csv_is_read_as_the_standard_says(name: str) -> None:
    """Nothing is lost; a quoted line break is reported, and nothing is repaired."""
    header, *rows = csv.reader(io.StringIO(STANDARD[name], newline=""))
    key = " ".join(header[0].split())
    table = read_table(STANDARD[name].encode(), "t.csv", key)
    assert table.columns == [key, *header[1:]]
    assert table.rows == rows
    assert {finding.reason for finding in table.findings} <= {LINE_BREAK}


def test_lines_are_counted_through_breaks() -> None:
    content = STANDARD["a header with line breaks"].encode()
    assert read_table(content, "t.csv", "a unit").lines == [4]


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), max_size=8)
ROWS = st.lists(st.tuples(CELLS.filter(bool), CELLS, CELLS), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(ROWS, st.sampled_from(["\n", "\r\n"]))
def test_what_a_standard_writer_writes_is_read_back(rows: list[tuple[str, ...]], end: str) -> None:
    file = io.StringIO()
    csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("a", "b", "c"), *rows])
    table = read_table(file.getvalue().encode(), "t.csv", "a")
    assert table.rows == [list(row) for row in rows]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "iso-8859-2", "shift-jis", "koi8-r"])
def test_labels_in_other_encodings_stay_apart(encoding: str) -> None:
    """Different labels stay different in any encoding."""
    labels = {
        "shift-jis": ["\u30cf\u30fc\u30c8", "\u30cf\u30fc\u30c9"],
        "koi8-r": ["\u0448\u0430\u043f\u043a\u0430", "\u0448\u0443\u0431\u0430"],
    }.get(encoding, ["H\xfcte", "H\xe4te", "H\xf6te"])
    content = "id,label\n" + "".join(f"{n},{label}\n" for n, label in enumerate(labels))
    table = read_table(content.encode(encoding), "t.csv", "id")
    assert len(set(table.values("label"))) == len(labels)
    assert [finding.reason for finding in table.findings] == [NOT_UTF8] * len(labels)
    if encoding in ("latin-1", "cp1252"):
        assert table.values("label") == labels


def test_a_stray_byte_leaves_the_rest_of_the_file_as_it_is() -> None:
    table = read_table("id,label\n1,H\xfcte\n2,".encode() + b"H\xfcte\n", "t.csv", "id")
    assert table.values("label") == ["H\xfcte", "H\xfcte"]
    assert len(table.findings) == 1
