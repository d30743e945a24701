"""Select the parquet files of a data set, and read their split from file names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from clothclf.data.splits import SPLIT_NAMES
from clothclf.errors import DataError

DATA_FOLDER = "data"
MAX_FILES = 10_000


def parquet_files(names: Iterable[str], where: str) -> list[str]:
    """Return the sorted parquet files of a data set, given all its relative names (with `/`).

    They are at the top level, in `data/`, in one folder per split, or all below one other folder.
    Raises DataError if there are none, or if several folders each hold a data set.
    """
    files = sorted(name for name in names if name.lower().endswith(".parquet"))
    files = [name for name in files if not any(part.startswith(".") for part in name.split("/"))]
    if not files:
        raise DataError(
            f"{where}: has no .parquet files at its top level, in data/ or one folder below"
        )
    if len(files) > MAX_FILES:
        raise DataError(
            f"{where}: has {len(files):,} parquet files; at most {MAX_FILES:,} are supported"
        )
    usual = [name for name in files if all(_is_usual(part) for part in name.split("/")[:-1])]
    if usual:
        return usual
    folders = sorted({name.partition("/")[0] for name in files})
    if len(folders) > 1:
        names_of = ", ".join(folder[:40] for folder in folders[:5])
        raise DataError(
            f"{where}: contains {len(folders)} data sets, in the folders "
            f"{names_of}{' and others' if len(folders) > 5 else ''}; set data.path to the folder "
            "of one"
        )
    return files


def split_of(name: str) -> str:
    """Return the split in a file's name, or else in its folder's; empty if there is none.

    For example `train-00000-of-00002-6cff4c59.parquet`, `my_test.parquet`,
    `validation/0000.parquet`.
    """
    for part in reversed(name.lower().removesuffix(".parquet").split("/")):
        for word in re.split(r"[^a-z]+", part):
            if word in SPLIT_NAMES:
                return SPLIT_NAMES[word]
    return ""


def missing_shards(names: Iterable[str]) -> list[str]:
    """Return the missing files of sets numbered like `00000-of-00002`."""
    shards: dict[tuple[str, int], set[int]] = {}
    for name in names:
        if match := re.search(r"^(.*?)-(\d{1,6})-of-(\d{1,6})\b", name):
            shards.setdefault((match[1], int(match[3])), set()).add(int(match[2]))
    return [
        f"{start}-{number:05}-of-{count:05}"
        for (start, count), present in sorted(shards.items())
        for number in range(min(count, MAX_FILES))
        if number not in present
    ]


def _is_usual(folder: str) -> bool:
    return folder == DATA_FOLDER or folder.lower() in SPLIT_NAMES
