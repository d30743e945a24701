"""Read the runs of a pack, and verify all of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import PackError
from benchmark.runs import run_folder as files
from benchmark.runs.audits import Audit
from benchmark.runs.curve_results import LearningCurve
from benchmark.runs.record import Failure, Rejection, RunRecord
from benchmark.runs.shareable import SHARED_FILES
from benchmark.runs.spec import RunSpec
from benchmark.runs.stress_results import StressResult
from benchmark.sharing.pack_file import Pack, record_member, run_member, table_member
from benchmark.sharing.variants import SharedVariants, packed_variants, verify_variants
from benchmark.sharing.verify import RunVerifier, verify_curve, verify_reason, verify_stress
from clothclf.results import DataSummary

WITHOUT_FIGURES: dict[str, type[Failure] | type[Rejection]] = {
    files.FAILURE: Failure,
    files.REJECTION: Rejection,
}
"""Types by name of the file that a run without figures has in place of its record."""


@dataclass(frozen=True)
class SharedRun:
    """One finished run of a pack."""

    record: RunRecord
    curve: LearningCurve | None
    stress: tuple[StressResult, ...]
    variants: SharedVariants | None = None


def verify_pack(pack: Pack) -> list[RunSpec]:
    """Return the specs of a pack's finished runs; raises PackError unless all of it is valid."""
    verifier, specs = RunVerifier(), []
    used = {name for name in pack.members if name.startswith("runs/")}
    known: dict[str, DataSummary] = {}
    for run in runs_of(pack):
        record = run.record
        used |= {table_member(sha256) for sha256 in record.files.values()}
        try:
            _verify_run(pack, run, verifier)
        except PackError as error:
            pack.refuse(str(error))
        known.setdefault(record.spec.data_summary.fingerprint, record.spec.data_summary)
        specs.append(record.spec)
    for failed in runs_without_figures(pack):
        try:
            verify_reason(failed, known)
        except PackError as error:
            pack.refuse(str(error))
    for audit in audits_of(pack):
        used.add(f"audits/{audit.fingerprint}.json")
        if audit.fingerprint not in known:
            pack.refuse(f"has an audit of data {audit.fingerprint} without a run on them")
    if unused := sorted(pack.members.keys() - used):
        pack.refuse(f"{unused[0]} belongs to no run")
    return specs


def _verify_run(pack: Pack, run: SharedRun, verifier: RunVerifier) -> None:
    record = run.record
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, sha256 in record.files.items():
            (folder / name).write_bytes(packed_table(pack, sha256))
        verifier.verify(record, folder)
        if run.curve is not None:
            verify_curve(run.curve, record, folder)
        for result in run.stress:
            verify_stress(result, record, f"{result.corruption}-{result.severity}.json")
        if run.variants is not None:
            verify_variants(run.variants, record, folder)


def runs_of(pack: Pack, run_ids: Sequence[str] | None = None) -> Iterator[SharedRun]:
    """Iterate over the finished runs of a pack, or some of them.

    Raises PackError if one cannot be read, or the pack has no run at all.
    """
    known = pack.run_ids()
    if not known:
        pack.refuse("has no run")
    for run_id in known if run_ids is None else run_ids:
        without = [name for name in WITHOUT_FIGURES if run_member(run_id, name) in pack.members]
        if not without:
            yield _run(pack, run_id)
        elif pack.names(run_member(run_id, "")) != [run_member(run_id, without[0])]:
            pack.refuse(f"run {run_id} has a {without[0]} and other results")


def _run(pack: Pack, run_id: str) -> SharedRun:
    record = pack.model(record_member(run_id), RunRecord)
    if record.run_id != run_id:
        pack.refuse(f"{record_member(run_id)} is of run {record.run_id[:40]}")
    if stray := sorted(record.files.keys() - {*SHARED_FILES}):
        pack.refuse(f"run {run_id} lists the file {stray[0][:100]!r}, which packs do not have")
    curve_name = run_member(run_id, "curve/points.json")
    stress = [
        (name, pack.model(name, StressResult)) for name in pack.names(run_member(run_id, "stress/"))
    ]
    for name, result in stress:
        if not name.endswith(f"/{result.corruption}-{result.severity}.json"):
            pack.refuse(f"{name} is of another condition")
    has_curve = curve_name in pack.members
    return SharedRun(
        record=record,
        curve=pack.model(curve_name, LearningCurve) if has_curve else None,
        stress=tuple(result for _, result in stress),
        variants=packed_variants(pack, run_id),
    )


def runs_without_figures(pack: Pack) -> Iterator[Failure | Rejection]:
    """Iterate over failed and rejected runs; raises PackError if one cannot be read."""
    for run_id in pack.run_ids():
        for name, kind in WITHOUT_FIGURES.items():
            member = run_member(run_id, name)
            if member in pack.members:
                found = pack.model(member, kind)
                if found.run_id != run_id:
                    pack.refuse(f"{member} is of run {found.run_id[:40]}")
                yield found


def audits_of(pack: Pack) -> Iterator[Audit]:
    """Iterate over the audits of a pack; raises PackError if one cannot be read."""
    for name in pack.names("audits/"):
        audit = pack.model(name, Audit)
        if name != f"audits/{audit.fingerprint}.json":
            pack.refuse(f"{name} is of other data")
        yield audit


def packed_table(pack: Pack, sha256: str) -> bytes:
    """Return a table; its hash in the record, and thus its name, must be that of its content."""
    name = table_member(sha256)
    if pack.members.get(name, sha256) != sha256:
        pack.refuse(f"{name} is not as the run wrote it")
    return pack.read(name)
