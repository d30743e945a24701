"""Packs that were tampered with, or are damaged: none is accepted with other figures."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import PackError
from benchmark.runs import run_folder as files
from benchmark.runs.run_folder import study_folders
from benchmark.sharing import pack_file
from benchmark.workflows.share_runs import merge_packs, pack_study
from tests.benchmark.drawn_study import Made
from tests.benchmark.packed_study import (
    Copy,
    at,
    make_packed,
    make_whole,
    member,
)
from tests.benchmark.tampering_variants import TAMPERED


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_whole(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def packed(whole: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_packed(whole, tmp_path_factory.mktemp("packed"))


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_pack_is_refused(name: str, whole: Made, packed: Path, tmp_path: Path) -> None:
    path = tmp_path / "tampered.bench"
    path.write_bytes(TAMPERED[name](Copy(packed)))
    with pytest.raises(PackError) as refused:
        merge_packs(at(whole, tmp_path / "store"), [packed, path])
    assert "tampered.bench: " in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "store" / "runs").exists()
    assert {item.name for item in tmp_path.iterdir()} <= {"tampered.bench", "store"}


def test_a_copy_that_is_not_tampered_with_is_accepted(
    whole: Made, packed: Path, tmp_path: Path
) -> None:
    """Else the cases above would show nothing."""
    (tmp_path / "copy.bench").write_bytes(Copy(packed).edit(lambda values: None).zipped())
    assert len(merge_packs(at(whole, tmp_path), [tmp_path / "copy.bench"]).added) == 5


def test_flipped_bytes_are_refused_or_change_nothing(
    whole: Made, packed: Path, tmp_path: Path
) -> None:
    content, generator = packed.read_bytes(), np.random.default_rng(0)
    for number, place in enumerate(generator.integers(0, len(content), 40)):
        changed = bytearray(content)
        changed[place] ^= int(generator.integers(1, 256))
        path, root = tmp_path / f"{number}.bench", tmp_path / f"store{number}"
        path.write_bytes(bytes(changed))
        with contextlib.suppress(PackError):
            merge_packs(at(whole, root), [path])
            pack_study(at(whole, root), tmp_path / "again.bench")
            assert (tmp_path / "again.bench").read_bytes() == content


@pytest.mark.parametrize("table", [files.MANIFEST, files.PREDICTIONS])
def test_tables_of_flipped_bytes_with_right_hashes_end_in_one_sentence(
    table: str, whole: Made, packed: Path, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    for number in range(60):
        copy = Copy(packed)

        def flipped(values: dict[str, Any], copy: Copy = copy) -> None:
            content = bytearray(copy.members[member(values["files"][table])])
            content[generator.integers(len(content))] ^= int(generator.integers(1, 256))
            sha256 = hashlib.sha256(content).hexdigest()
            copy.members[member(sha256)] = bytes(content)
            values["files"][table] = sha256

        own = member(copy.values(copy.records[0])["files"][table])
        copy.edit(flipped)
        if table == files.PREDICTIONS:
            del copy.members[own]
        path, root = tmp_path / f"{number}.bench", tmp_path / f"store{number}"
        path.write_bytes(copy.zipped())
        with contextlib.suppress(PackError):
            merge_packs(at(whole, root), [path])
            # A byte that no reader looks at.
            records = [folder.record() for folder in study_folders(root, "s")]
            known = {record.run_id: record for record in whole.collection().comparisons[0].records}
            assert records[3:] == [None, None]
            assert all(item and item.test == known[item.run_id].test for item in records[:3])


def test_members_beyond_the_limits_are_refused(
    whole: Made, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, limit in (("MAX_UNPACKED_BYTES", 1000), ("MAX_MEMBERS", 2), ("MAX_PACK_BYTES", 9)):
        with monkeypatch.context() as patch:
            patch.setattr(pack_file, name, limit)
            with pytest.raises(PackError):
                merge_packs(at(whole, tmp_path), [packed])
