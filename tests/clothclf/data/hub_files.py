"""Writes parquet files like the Hugging Face hub's `datasets` library."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import draw_jpeg

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def cells(contents: Sequence[bytes | None]) -> pa.Array:
    """Images as stored on the hub: their bytes, and a path that does not exist."""
    result = [None if each is None else {"bytes": each, "path": "/etc/passwd"} for each in contents]
    return pa.array(result, PICTURE)


def write(
    path: Path,
    columns: Mapping[str, Any],
    features: Mapping[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Write a parquet file; `features` is the column metadata of `datasets`."""
    table = pa.table(dict(columns))
    if features is not None:
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": dict(features)}})}
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def fashion(path: Path, ids: Sequence[int], labels: Sequence[str], **options: Any) -> Path:
    """File with the columns of ashraq/fashion-product-images-small; each id has its own image."""
    count = len(ids)
    text = {"dtype": "string", "_type": "Value"}
    columns = {
        "id": pa.array(ids, pa.int64()),
        "gender": ["Men"] * count,
        "masterCategory": ["Apparel"] * count,
        "subCategory": ["Topwear"] * count,
        "articleType": list(labels),
        "baseColour": ["Navy Blue"] * count,
        "season": ["Fall"] * count,
        "year": [2011.0] * count,
        "usage": ["Casual"] * count,
        "productDisplayName": [
            f"a {label}, no {each}" for each, label in zip(ids, labels, strict=True)
        ],
        "image": cells([draw_jpeg(each) for each in ids]),
    }
    features = dict.fromkeys(columns, text) | {"image": {"_type": "Image"}}
    return write(path, columns, features, **options)
