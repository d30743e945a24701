"""Write the ended runs of a study to a pack."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.errors import PackError
from benchmark.runs import run_folder as files
from benchmark.runs.audits import find_audit
from benchmark.runs.curve_results import CURVE, POINTS, CurveFile
from benchmark.runs.record import Failure, Rejection, RunRecord
from benchmark.runs.run_folder import RunFolder, stored_text, study_folders
from benchmark.runs.shareable import shareable
from benchmark.runs.stress_results import STRESS, StressResults
from benchmark.sharing.pack_file import PackWriter, record_member, run_member, table_member
from benchmark.sharing.variants import SharedVariants, stored_variants, verify_variants
from benchmark.sharing.verify import RunVerifier, verify_reason
from clothclf.results import DataSummary


@dataclass
class Packed:
    """Result of packing."""

    runs: int = 0
    """Number of finished runs."""
    without_figures: int = 0
    """Number of failed and rejected runs."""
    skipped: list[str] = field(default_factory=list)
    """What was left out, each with the reason in one sentence."""


def pack(root: Path, study: str, path: Path) -> Packed:
    """Write all ended runs of a study below the tracking folder `root` to the file `path`.

    Each is verified as `bench merge` would. Raises PackError if there is no run to pack.
    """
    writer, verifier, packed = PackWriter(path), RunVerifier(), Packed()
    known: dict[str, DataSummary] = {}
    others: list[Failure | Rejection] = []
    for folder in study_folders(root, study):
        record = folder.record()
        if record is None:
            others += _without_figures(folder, packed)
        elif shared := _verified(folder, record, verifier, packed):
            for name, content in _members(folder, shared, packed):
                writer.add(name, content)
            packed.runs += 1
            known.setdefault(shared.spec.data_summary.fingerprint, shared.spec.data_summary)
    for run in others:
        try:
            verify_reason(run, known)
        except PackError as error:
            packed.skipped.append(f"not packed: {error}")
            continue
        name = files.FAILURE if isinstance(run, Failure) else files.REJECTION
        writer.add(run_member(run.run_id, name), stored_text(run).encode())
        packed.without_figures += 1
    if not packed.runs + packed.without_figures:
        raise PackError(
            f"study {study!r} has no finished run in {root} to pack"
            + "".join(f"\n{line}" for line in packed.skipped)
        )
    for fingerprint in sorted(known):
        if (audit := find_audit(root, fingerprint)) is not None:
            writer.add(f"audits/{fingerprint}.json", stored_text(audit).encode())
    writer.close()
    return packed


def _without_figures(folder: RunFolder, packed: Packed) -> Iterator[Failure | Rejection]:
    """Yield a failed or rejected run as it is shared; nothing for one that has not ended."""
    failure, spec = folder.failure(), folder.spec()
    if failure is not None:
        yield shareable(failure)
    elif folder.has_ended():
        why = folder.invalid_reason()
        if spec is None:
            packed.skipped.append(f"not packed: {folder.path.name}: {why}")
            return
        packed.skipped.append(f"packed without figures: {folder.path.name}: {why}")
        yield shareable(Rejection(run_id=spec.run_id, spec=spec, reason=why))


def _verified(
    folder: RunFolder, record: RunRecord, verifier: RunVerifier, packed: Packed
) -> RunRecord | None:
    """Return a record as it is shared; None, with the reason in `packed`, if it is refused."""
    shared = shareable(record)
    if not all(folder.has(*item) for item in shared.files.items()):
        packed.skipped.append(f"not packed: {folder.path.name}: a result file is damaged")
        return None
    try:
        verifier.verify(shared, folder.path)
    except PackError as error:
        packed.skipped.append(f"not packed: {error}")
        return None
    return shared


def _members(folder: RunFolder, record: RunRecord, packed: Packed) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of what is packed of one run."""
    yield record_member(record.run_id), stored_text(record).encode()
    tables = {name: (folder.path / name).read_bytes() for name in sorted(record.files)}
    for name, content in tables.items():
        yield table_member(record.files[name]), content
    curve = CurveFile(folder.path, record.run_id).read()
    if curve is not None:
        yield run_member(record.run_id, f"{CURVE}/{POINTS}"), stored_text(curve).encode()
    stress = StressResults(folder.path, record.run_id, record.test.images).all()
    for (corruption, severity), result in sorted(stress.items()):
        name = f"{STRESS}/{corruption}-{severity}.json"
        yield run_member(record.run_id, name), stored_text(result).encode()
    variants = stored_variants(folder.path)
    if variants is not None and _are_verified(variants, record, tables, packed):
        for name, content in variants.members():
            yield run_member(record.run_id, name), content


def _are_verified(
    variants: SharedVariants, record: RunRecord, tables: dict[str, bytes], packed: Packed
) -> bool:
    """Whether deployed variants are valid; the reason is in `packed` if they are not."""
    with tempfile.TemporaryDirectory() as place:
        for name, content in tables.items():
            (Path(place) / name).write_bytes(content)
        try:
            verify_variants(variants, record, Path(place))
        except PackError as error:
            packed.skipped.append(f"not packed: {error}; `bench deploy` measures them again")
            return False
    return True
