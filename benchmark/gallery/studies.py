"""Studies of a gallery: the runs of verified packs that `bench merge` would put in one table."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.runs.record import RunRecord
from benchmark.runs.setting_differences import comparable_settings
from benchmark.runs.spec import RunSpec, folder_name
from benchmark.sharing.merge import Merged, merge_audit, merge_run
from benchmark.sharing.pack_file import open_pack, record_member
from benchmark.sharing.packed_runs import audits_of, runs_of, verify_pack
from clothclf.data.atomic import json_sha256


@dataclass(frozen=True)
class PackedRuns:
    """The comparable runs of one verified pack."""

    path: Path
    index_sha256: str
    """Hash of the pack's index, and thus of all that was verified."""
    key: str
    """Hash of the data and the settings that comparable runs share."""
    study: str
    fingerprint: str
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class PackedStudy:
    """All comparable runs of a gallery, of one or more packs."""

    parts: tuple[PackedRuns, ...]

    @property
    def name(self) -> str:
        """Name of the study in the first pack."""
        return self.parts[0].study

    @property
    def folder(self) -> str:
        """Name of its folder: a readable part, and a hash that no pack chooses."""
        return (
            f"{re.sub(r'[^a-z0-9]+', '-', self.name.lower())[:40].strip('-')}-{self.parts[0].key}"
        )


def verified_runs(path: Path) -> list[PackedRuns]:
    """Verify a pack as `bench merge` does, and return its runs; raises PackError.

    Probes of a selection are left out: they have no results on the test split.
    """
    with open_pack(path) as pack:
        found: dict[str, list[RunSpec]] = {}
        for spec in verify_pack(pack):
            if spec.evaluate == "test":
                found.setdefault(_key(spec), []).append(spec)
        if not found:
            pack.refuse("has no run that was evaluated on the test split")
        digest = json_sha256(pack.members)
    return [
        PackedRuns(
            path=path,
            index_sha256=digest,
            key=key,
            study=specs[0].study,
            fingerprint=specs[0].data_summary.fingerprint,
            run_ids=tuple(spec.run_id for spec in specs),
        )
        for key, specs in found.items()
    ]


def group(parts: Sequence[PackedRuns]) -> list[PackedStudy]:
    """Join the runs of all packs that are comparable, sorted by the name of the study."""
    by_key: dict[str, list[PackedRuns]] = {}
    for part in parts:
        by_key.setdefault(part.key, []).append(part)
    studies = [PackedStudy(tuple(parts)) for parts in by_key.values()]
    return sorted(studies, key=lambda study: (study.name.lower(), study.folder))


@dataclass(frozen=True)
class UnpackedRun:
    """A run of a study in the store below a folder."""

    record: RunRecord
    text: str
    """Its record as packed."""


def unpack(study: PackedStudy, root: Path, merged: Merged) -> list[UnpackedRun]:
    """Merge the runs of a study into the store below `root`; return them by name of their folder.

    The first pack that has a run decides; what another pack has otherwise is in `merged`.
    """
    unpacked: dict[str, UnpackedRun] = {}
    for part in study.parts:
        with open_pack(part.path) as pack:
            if json_sha256(pack.members) != part.index_sha256:
                pack.refuse("has changed while the gallery was built; build it again")
            for run in runs_of(pack, part.run_ids):
                here = {"study": study.name, "pixels": root / "pixels.npy"}
                spec = run.record.spec.model_copy(update=here)
                record = run.record.model_copy(update={"spec": spec})
                text = pack.text(record_member(record.run_id))
                unpacked.setdefault(folder_name(spec), UnpackedRun(record, text))
                run = dataclasses.replace(run, record=record)
                merge_run(pack, run, spec, root, lambda _: contextlib.nullcontext(), merged)
            for audit in audits_of(pack):
                if audit.fingerprint == part.fingerprint:
                    merge_audit(pack, audit, root, merged)
    return [unpacked[name] for name in sorted(unpacked)]


def _key(spec: RunSpec) -> str:
    parts = [spec.data_summary.fingerprint, comparable_settings(spec)]
    return json_sha256(parts)[:12]
