"""Merge the runs of a verified pack into a store; nothing that is there is overwritten."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmark.config.study import StudySettings
from benchmark.errors import PackError
from benchmark.runs import run_folder as files
from benchmark.runs.audits import Audit, find_audit, store_audit
from benchmark.runs.curve_results import CurveFile, LearningCurve
from benchmark.runs.record import RunRecord
from benchmark.runs.root import cache_folder
from benchmark.runs.run_folder import RunFolder, from_stored_text, runs_root
from benchmark.runs.shareable import SHARED_FILES, shareable_data, shareable_record
from benchmark.runs.spec import RunSpec, folder_name
from benchmark.runs.stress_results import STRESS, StressResult, StressResults
from benchmark.sharing.pack_file import Pack, record_member, table_member
from benchmark.sharing.verify import RunVerifier, verify_curve, verify_stress
from clothclf.data.atomic import write_bytes
from clothclf.settings import Settings

_Model = TypeVar("_Model", bound=Settings)


Lock = Callable[[RunFolder], AbstractContextManager[None]]
"""Locks a run folder within a context; raises StoreError if the run is in progress."""


@dataclass
class Merged:
    """Result of merging packs."""

    added: list[str] = field(default_factory=list)
    """Names of runs that the store lacked."""
    known: int = 0
    """Number of runs that the store has with the same figures."""
    conflicts: list[str] = field(default_factory=list)
    """What was not merged, and why, each in one sentence."""
    studies: set[str] = field(default_factory=set)
    """Names of the runs' studies."""


@dataclass(frozen=True)
class SharedRun:
    """One run of a pack."""

    record: RunRecord
    curve: LearningCurve | None
    stress: tuple[StressResult, ...]


def verify_pack(pack: Pack) -> None:
    """Raise PackError unless all of a pack can be believed."""
    verifier = RunVerifier()
    used = {name for name in pack.members if name.startswith("runs/")}
    fingerprints: set[str] = set()
    for run in runs_of(pack):
        record = run.record
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            for name, sha256 in record.files.items():
                used.add(table_member(sha256))
                (folder / name).write_bytes(_table(pack, sha256))
            try:
                verifier.verify(record, folder)
                if run.curve is not None:
                    verify_curve(run.curve, record, folder)
                for result in run.stress:
                    verify_stress(result, record, f"{result.corruption}-{result.severity}.json")
            except PackError as error:
                pack.refuse(str(error))
        fingerprints.add(record.spec.data_summary.fingerprint)
    for audit in audits_of(pack):
        used.add(f"audits/{audit.fingerprint}.json")
        if audit.fingerprint not in fingerprints:
            pack.refuse(f"has an audit of data {audit.fingerprint} without a run on them")
    if unused := sorted(pack.members.keys() - used):
        pack.refuse(f"{unused[0]} belongs to no run")


def runs_of(pack: Pack) -> Iterator[SharedRun]:
    """Iterate over the runs of a pack; raises PackError if one cannot be read."""
    run_ids = pack.run_ids()
    if not run_ids:
        pack.refuse("has no run")
    for run_id in run_ids:
        record = _read(pack, record_member(run_id), RunRecord)
        if record.run_id != run_id:
            pack.refuse(f"{record_member(run_id)} is of run {record.run_id[:40]}")
        if stray := sorted(record.files.keys() - {*SHARED_FILES}):
            pack.refuse(f"run {run_id} lists the file {stray[0][:100]!r}, which packs do not have")
        curve_name = f"runs/{run_id}/curve/points.json"
        stress = [
            (name, _read(pack, name, StressResult)) for name in pack.names(f"runs/{run_id}/stress/")
        ]
        for name, result in stress:
            if not name.endswith(f"/{result.corruption}-{result.severity}.json"):
                pack.refuse(f"{name} is of another condition")
        has_curve = curve_name in pack.members
        yield SharedRun(
            record=record,
            curve=_read(pack, curve_name, LearningCurve) if has_curve else None,
            stress=tuple(result for _, result in stress),
        )


def audits_of(pack: Pack) -> Iterator[Audit]:
    """Iterate over the audits of a pack; raises PackError if one cannot be read."""
    for name in pack.names("audits/"):
        audit = _read(pack, name, Audit)
        if name != f"audits/{audit.fingerprint}.json":
            pack.refuse(f"{name} is of other data")
        yield audit


def merge(pack: Pack, study: StudySettings, root: Path, lock: Lock, merged: Merged) -> None:
    """Add what a verified pack has, and the store below `root` lacks, to it and to `merged`.

    Runs on the data of `study` get its paths, so that their images can be decoded here.
    """
    for run in runs_of(pack):
        record = run.record
        merged.studies.add(record.spec.study)
        local = _local(record.spec, study, root)
        folder = RunFolder(runs_root(root, record.spec.study) / folder_name(record.spec))
        folder.path.mkdir(parents=True, exist_ok=True)
        with lock(folder):
            if conflict := _merge_run(pack, run, local, folder, merged):
                merged.conflicts.append(
                    f"{pack.path}: run {record.spec.name} ({record.run_id}): {conflict}"
                )
    for audit in audits_of(pack):
        known = find_audit(root, audit.fingerprint)
        if known is None:
            store_audit(root, audit)
        elif not _alike(known, audit):
            merged.conflicts.append(
                f"{pack.path}: the audit of data {audit.fingerprint} was not merged: the store has "
                "another one"
            )


def _local(spec: RunSpec, study: StudySettings, root: Path) -> RunSpec:
    """Return a packed spec with the paths of this store, where the images need not be."""
    cache = cache_folder(root)
    same = shareable_data(study.data) == spec.data
    places = {"cache": cache, "pixels": cache / "pixels" / "merged" / "pixels.npy"}
    return spec.model_copy(update={**places, **({"data": study.data} if same else {})})


def _merge_run(
    pack: Pack,
    run: SharedRun,
    local: RunSpec,
    folder: RunFolder,
    merged: Merged,
) -> str:
    """Merge one run; return why it, or a result beside it, was not merged, else nothing.

    `local` is its spec with the paths of this store.
    """
    record = run.record
    known = folder.record()
    if known is None and folder.has_ended():
        return (
            f"not merged: the store has it, but {folder.invalid_reason()}; delete it with `bench "
            "runs delete`, and merge again"
        )
    if known is None:
        for name, sha256 in record.files.items():
            write_bytes(folder.path / name, _table(pack, sha256))
        folder.write(files.SPEC, local)
        folder.write(files.RECORD, record.model_copy(update={"spec": local}))
        folder.finish()
        (folder.path / files.FAILURE).unlink(missing_ok=True)
        merged.added.append(f"{record.spec.name} ({record.run_id})")
    elif difference := differences(shareable_record(known), record):
        return f"not merged: the store has it with other figures: {difference}"
    else:
        merged.known += 1
    return _merge_beside(run, folder)


def _merge_beside(run: SharedRun, folder: RunFolder) -> str:
    """Add a run's learning curve and stress results; return which the store has otherwise."""
    record, others = run.record, []
    stored = CurveFile(folder.path, record.run_id)
    if run.curve is not None:
        if not stored.path.exists():
            stored.write(run.curve)
        elif (curve := stored.read()) is None or not _alike(curve, run.curve):
            others.append("learning curve")
    results = StressResults(folder.path, record.run_id, record.test.images)
    for result in run.stress:
        name = f"{result.corruption}-{result.severity}.json"
        if not (folder.path / STRESS / name).exists():
            results.write(result)
            continue
        found = results.read(*result.condition, result.corruptions_version)
        if found is None or not _alike(found, result):
            others.append(f"stress result {name}")
    return f"the store has another {', '.join(others)}, which was kept" if others else ""


def differences(here: RunRecord, there: RunRecord) -> str:
    """Describe how two records of a run differ, accuracy first; empty if they are the same."""
    if _alike(here, there):
        return ""
    if here.test.metrics != there.test.metrics:
        ours, theirs = (f"{100 * record.test.accuracy:.2f} %" for record in (here, there))
        if ours != theirs:
            return f"test accuracy {ours} in the store, {theirs} in the pack"
    ours_by_key, theirs_by_key = (record.model_dump(mode="json") for record in (here, there))
    apart = sorted(key for key in ours_by_key if ours_by_key[key] != theirs_by_key[key])
    same = "the same test figures, but " if "test" not in apart and "files" not in apart else ""
    return f"{same}other values of {', '.join(key for key in apart if key != 'check')}"


def _alike(one: Any, other: Any) -> bool:
    """Whether two stored results are the same, whoever wrote them."""
    unchecked = {"check": ""}
    return bool(one.model_copy(update=unchecked) == other.model_copy(update=unchecked))


def _read(pack: Pack, name: str, kind: type[_Model]) -> _Model:
    value = from_stored_text(pack.text(name), kind)
    if value is None:
        pack.refuse(f"{name} is damaged, has changed, or is of another version of bench")
    return value


def _table(pack: Pack, sha256: str) -> bytes:
    """Return a table; its hash in the record, and thus its name, must be that of its content."""
    name = table_member(sha256)
    if pack.members.get(name, sha256) != sha256:
        pack.refuse(f"{name} is not as the run wrote it")
    return pack.read(name)
