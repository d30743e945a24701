"""Merge the runs of a verified pack into a store; nothing that is there is overwritten."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from benchmark.config.study import StudySettings
from benchmark.runs import run_folder as files
from benchmark.runs.audits import Audit, find_audit, store_audit
from benchmark.runs.curve_results import CurveFile
from benchmark.runs.find import FinishedRun
from benchmark.runs.record import Failure, Rejection, RunRecord
from benchmark.runs.root import cache_folder
from benchmark.runs.run_folder import RunFolder, runs_root
from benchmark.runs.shareable import SHARED_FILES, shareable, shareable_data
from benchmark.runs.spec import RunSpec, folder_name
from benchmark.runs.stress_results import STRESS, StressResults
from benchmark.sharing.agreement import other_figures, other_results, other_times
from benchmark.sharing.pack_file import Pack
from benchmark.sharing.packed_runs import (
    SharedRun,
    audits_of,
    packed_table,
    runs_of,
    runs_without_figures,
)
from benchmark.sharing.tables import equal_tables
from benchmark.sharing.variants import merge_variants
from clothclf.data.atomic import write_bytes

Lock = Callable[[RunFolder], AbstractContextManager[None]]
"""Locks a run folder within a context; raises StoreError if the run is in progress."""
_TIMES = frozenset({"check", "seconds"})
"""Keys of results beside a run that another machine changes."""


@dataclass
class Merged:
    """Result of merging packs."""

    added: list[str] = field(default_factory=list)
    """Names of runs that the store lacked."""
    known: int = 0
    """Number of runs that the store has with the same figures."""
    conflicts: list[str] = field(default_factory=list)
    """What was not merged since the store has other results, each in one sentence."""
    notes: list[str] = field(default_factory=list)
    """Where the store and a pack have other times of equal results, each in one sentence."""
    studies: set[str] = field(default_factory=set)
    """Names of the runs' studies."""


def merge(pack: Pack, study: StudySettings, root: Path, lock: Lock, merged: Merged) -> None:
    """Add what a verified pack has, and the store below `root` lacks, to it and to `merged`.

    Runs on the data of `study` get its paths, so that their images can be decoded here.
    """
    for run in runs_of(pack):
        merged.studies.add(run.record.spec.study)
        merge_run(pack, run, _local(run.record.spec, study, root), root, lock, merged)
    for failed in runs_without_figures(pack):
        merged.studies.add(failed.spec.study)
        _merge_reason(pack, failed, _local(failed.spec, study, root), root, lock, merged)
    for audit in audits_of(pack):
        merge_audit(pack, audit, root, merged)


def merge_run(
    pack: Pack, run: SharedRun, local: RunSpec, root: Path, lock: Lock, merged: Merged
) -> None:
    """Add a run, and the results beside it, to the store below `root`, unless it has them.

    `local` is the run's spec with the paths of this store.
    """
    folder = RunFolder(runs_root(root, local.study) / folder_name(local))
    folder.path.mkdir(parents=True, exist_ok=True)
    with lock(folder):
        if conflict := _merge_run(pack, run, local, folder, merged):
            merged.conflicts.append(f"{_where(pack, run.record)}: {conflict}")


def merge_audit(pack: Pack, audit: Audit, root: Path, merged: Merged) -> None:
    """Add an audit to the store below `root`, unless it has one of the same data."""
    known = find_audit(root, audit.fingerprint)
    if known is None:
        store_audit(root, audit)
    elif not _alike(known, audit):
        merged.conflicts.append(
            f"{pack.path}: the audit of data {audit.fingerprint} was not merged: the store has "
            "another one"
        )


def _where(pack: Pack, run: RunRecord | Failure | Rejection) -> str:
    return f"{pack.path}: run {run.spec.name} ({run.run_id})"


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
    """Merge one run; return why it, or a result beside it, was not merged, else nothing."""
    record = run.record
    known = folder.record()
    if known is None and (folder.path / files.RECORD).exists():
        return (
            f"not merged: the store has it, but {folder.invalid_reason()}; delete it with `bench "
            "runs delete`, and merge again"
        )
    if known is None:
        for name, sha256 in record.files.items():
            write_bytes(folder.path / name, packed_table(pack, sha256))
        folder.write(files.SPEC, local)
        folder.write(files.RECORD, record.model_copy(update={"spec": local}))
        folder.finish()
        for name in (files.FAILURE, files.REJECTION):
            (folder.path / name).unlink(missing_ok=True)
        merged.added.append(f"{record.spec.name} ({record.run_id})")
    elif difference := _other_results(pack, folder, shareable(known), record):
        return f"not merged: the store has it with other figures: {difference}"
    else:
        merged.known += 1
        if times := other_times(shareable(known), record):
            merged.notes.append(
                f"{_where(pack, record)}: the figures agree, and the store keeps its own times: "
                f"{times}"
            )
    return _merge_beside(pack, run, folder, merged)


def _other_results(pack: Pack, folder: RunFolder, here: RunRecord, there: RunRecord) -> str:
    """Describe how the figures and predictions of a run differ; empty if they agree."""
    if difference := other_results(here, there):
        return difference
    for name in SHARED_FILES[1:]:  # equal fingerprints imply equal manifests
        ours, theirs = (record.files.get(name) for record in (here, there))
        if ours is None or theirs is None or ours == theirs:
            continue
        if not equal_tables((folder.path / name).read_bytes(), packed_table(pack, theirs)):
            return f"the same test figures, but other probabilities in {name}"
    return ""


def _merge_reason(
    pack: Pack,
    run: Failure | Rejection,
    local: RunSpec,
    root: Path,
    lock: Lock,
    merged: Merged,
) -> None:
    """Add a run without figures, unless the store knows the run."""
    folder = RunFolder(runs_root(root, local.study) / folder_name(local))
    is_new = not (folder.path / files.SPEC).exists()
    folder.path.mkdir(parents=True, exist_ok=True)
    with lock(folder):
        own = folder.failure() or folder.read(files.REJECTION, Rejection)
        if is_new:
            name = files.FAILURE if isinstance(run, Failure) else files.REJECTION
            folder.write(files.SPEC, local)
            folder.write(name, run.model_copy(update={"spec": local}))
            state = f"failed in {run.stage}" if isinstance(run, Failure) else "without its record"
            merged.added.append(f"{run.spec.name} ({run.run_id}), {state}")
            return
        merged.known += 1
        if own is None or (type(own), own.reason) != (type(run), run.reason):
            merged.notes.append(
                f"{_where(pack, run)}: has no figures in the pack ({run.reason}), and the store "
                "keeps its own state of the run"
            )


def _merge_beside(pack: Pack, run: SharedRun, folder: RunFolder, merged: Merged) -> str:
    """Add a run's curve, stress results and variants; return which the store has otherwise."""
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
    if run.variants is not None:
        said = merge_variants(run.variants, FinishedRun(folder, record))
        others += said.conflicts
        merged.notes += [
            f"{_where(pack, record)}: the store keeps its own times of {note}"
            for note in said.notes
        ]
    return f"the store has another {', '.join(others)}, which was kept" if others else ""


def _alike(one: BaseModel, other: BaseModel) -> bool:
    """Whether two stored results are the same, whoever wrote them and however long it took."""
    return not other_figures(one, other, _TIMES)
