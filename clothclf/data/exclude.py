"""Exclude images by id, such as confirmed label errors."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from clothclf.csv_text import unquoted
from clothclf.data.sources import Finding
from clothclf.data.sources.table import as_written, read_table
from clothclf.errors import DataError

EXCLUDED = "excluded by the user"
MAX_BYTES = 64 * 2**20


def without_excluded(
    rows: pd.DataFrame, path: Path, title: str, findings: list[Finding]
) -> pd.DataFrame:
    """Drop the rows whose `id` is listed in the file; each becomes a finding.

    Ids that are missing or already dropped are ignored. Raises DataError if the file cannot be
    read, lists no image of the data set, or lists every image of a class.
    """
    ids = read_ids(path)
    named = rows["id"].isin(ids)
    if not named.any():
        first = sorted(ids)[:1]
        raise DataError(
            f"data.exclude: {path}: none of its {len(ids):,} ids matches an image of "
            f"{title}{f' (the first is {first[0][:80]!r})' if first else ''}; `bench data stats "
            "--manifest` lists the ids"
        )
    lost = sorted(set(rows["label"]) - set(rows.loc[~named, "label"]))
    if lost:
        raise DataError(
            f"data.exclude: {path}: excludes every image of class {lost[0]!r}; exclude the class "
            "with data.where instead"
        )
    left_out = rows.loc[named, ["id", "label"]].itertuples(index=False, name=None)
    findings.extend(Finding("dropped", EXCLUDED, str(name), str(label)) for name, label in left_out)
    remaining: pd.DataFrame = rows[~named]
    return remaining


def read_ids(path: Path) -> set[str]:
    """Read ids from column `id` of a CSV, or one per line of any other file; `#` starts a comment.

    Raises DataError if the file cannot be read or is too large.
    """
    content = read_content(path, "data.exclude")
    if path.suffix.lower() == ".csv":
        ids = read_table(content, f"data.exclude: {path}", "id").values("id")
        ids += [unquoted(image_id) for image_id in ids]  # bench writes ids quoted
    else:
        text = content.decode("utf-8-sig", errors="surrogateescape")
        lines = [line.strip() for line in text.splitlines()]
        ids = [as_written(line) for line in lines if not line.startswith("#")]
    return {image_id for image_id in ids if image_id}


def read_content(path: Path, key: str) -> bytes:
    """Read the file that a config key names; raises DataError if that fails or it is too large."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{key}: {path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise DataError(f"{key}: {path}: is larger than {MAX_BYTES // 2**20} MiB")
    return content
