"""Write the finished runs of a study to a pack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import PackError
from benchmark.runs.audits import find_audit
from benchmark.runs.curve_results import CURVE, POINTS, CurveFile
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder, stored_text, study_folders
from benchmark.runs.shareable import shareable_record
from benchmark.runs.stress_results import STRESS, StressResults
from benchmark.sharing.pack_file import PackWriter, record_member, table_member
from benchmark.sharing.verify import RunVerifier


@dataclass(frozen=True)
class Packed:
    """Result of packing."""

    runs: int
    skipped: tuple[str, ...]
    """Runs with a record that are not in the pack, each with the reason in one sentence."""


def pack(root: Path, study: str, path: Path) -> Packed:
    """Write all finished runs of a study below the tracking folder `root` to the file `path`.

    Each is verified as `bench merge` would. Raises PackError if there is no run to pack.
    """
    writer, verifier = PackWriter(path), RunVerifier()
    packed: set[str] = set()
    fingerprints: set[str] = set()
    skipped: list[str] = []
    for folder in study_folders(root, study):
        if not folder.has_ended():
            continue
        record = folder.record()
        shared = None if record is None else shareable_record(record)
        if shared is None or not all(folder.has(*item) for item in shared.files.items()):
            why = folder.invalid_reason() or "a result file is damaged"
            skipped.append(f"not packed: {folder.path.name}: {why}")
            continue
        try:
            verifier.verify(shared, folder.path)
        except PackError as error:
            skipped.append(f"not packed: {error}")
            continue
        for name, content in _members(folder, shared):
            writer.add(name, content)
        packed.add(shared.run_id)
        fingerprints.add(shared.spec.data_summary.fingerprint)
    if not packed:
        raise PackError(
            f"study {study!r} has no finished run in {root} to pack"
            + "".join(f"\n{line}" for line in skipped)
        )
    for fingerprint in sorted(fingerprints):
        if (audit := find_audit(root, fingerprint)) is not None:
            writer.add(f"audits/{fingerprint}.json", stored_text(audit).encode())
    writer.close()
    return Packed(len(packed), tuple(skipped))


def _members(folder: RunFolder, record: RunRecord) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of what is packed of one run."""
    yield record_member(record.run_id), stored_text(record).encode()
    for name, sha256 in sorted(record.files.items()):
        yield table_member(sha256), (folder.path / name).read_bytes()
    curve = CurveFile(folder.path, record.run_id).read()
    if curve is not None:
        yield f"runs/{record.run_id}/{CURVE}/{POINTS}", stored_text(curve).encode()
    stress = StressResults(folder.path, record.run_id, record.test.images).all()
    for (corruption, severity), result in sorted(stress.items()):
        name = f"runs/{record.run_id}/{STRESS}/{corruption}-{severity}.json"
        yield name, stored_text(result).encode()
