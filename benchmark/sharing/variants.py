"""Deployed variants in packs: figures and predictions, verified again, without exported files."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.deploy.accuracy import compute_accuracies, judge_variants
from benchmark.deploy.problems import not_probabilities
from benchmark.deploy.variants import VARIANTS
from benchmark.errors import DeployError, PackError
from benchmark.report.predictions import TestSet, read_test_set, shares_of
from benchmark.runs import deployments as files
from benchmark.runs.deployments import Accuracies, Artifact, Deployments, Timing, file_name
from benchmark.runs.find import FinishedRun
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder, stored_text
from benchmark.runs.shareable import is_shareable, shareable
from benchmark.sharing.agreement import other_figures
from benchmark.sharing.pack_file import Pack
from benchmark.sharing.tables import equal_tables, is_time, require_table
from clothclf.data.atomic import write_bytes
from clothclf.errors import UserError, first_line

MAX_SWAPPED = 1024
"""Maximum number of images that were also predicted with red and blue swapped."""
_DERIVED = frozenset({"check"})


@dataclass(frozen=True)
class SharedVariant:
    """One artifact of a variant, without its files."""

    artifact: Artifact
    timings: tuple[Timing, ...]
    tables: dict[str, bytes]
    """Predictions by name of their file; empty if its accuracy is not known."""

    @property
    def place(self) -> str:
        """Path in the folder of variants, as in `Deployments`."""
        return f"{self.artifact.variant}/{self.artifact.sha256[:16]}"


@dataclass(frozen=True)
class SharedVariants:
    """All variants of one run that a report shows."""

    accuracies: Accuracies | None
    variants: tuple[SharedVariant, ...]

    def members(self) -> Iterator[tuple[str, bytes]]:
        """Iterate over names, in the folder of the run, and contents of what is packed."""
        if self.accuracies is not None:
            yield f"{files.DEPLOY}/{files.ACCURACY}", stored_text(self.accuracies).encode()
        for item in self.variants:
            folder = f"{files.DEPLOY}/{item.place}"
            yield f"{folder}/{files.ARTIFACT}", stored_text(item.artifact).encode()
            for timing in item.timings:
                name = f"{files.DEVICES}/{file_name(timing.device.name)}.json"
                yield f"{folder}/{name}", stored_text(timing).encode()
            for name, content in sorted(item.tables.items()):
                yield f"{folder}/{name}", content


def stored_variants(run: Path) -> SharedVariants | None:
    """Read the variants in the folder of a run that reports show, without what is private.

    Returns None if nothing was deployed.
    """
    deployments = Deployments(run)
    accuracies = deployments.accuracies()
    variants = () if accuracies is None else accuracies.variants.values()
    judged = {variant.artifact for variant in variants}
    shown = judged | {item.artifact.sha256 for item in deployments.all()}
    found = []
    for artifact in sorted(deployments.artifacts(), key=lambda it: (it.variant, it.sha256)):
        if artifact.sha256 not in shown:
            continue
        folder = deployments.folder(artifact)
        names = (files.PREDICTIONS, files.SWAPPED) if artifact.sha256 in judged else ()
        found.append(
            SharedVariant(
                shareable(artifact),
                tuple(shareable(timing) for timing in deployments.timings(artifact)),
                {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()},
            )
        )
    if not found:
        return None
    return SharedVariants(accuracies and shareable(accuracies), tuple(found))


def packed_variants(pack: Pack, run_id: str) -> SharedVariants | None:
    """Read the variants of a run in a pack; raises PackError if they are damaged or incomplete."""
    prefix = f"runs/{run_id}/{files.DEPLOY}/"
    names = pack.names(prefix)
    if not names:
        return None
    accuracies = None
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        if name == f"{prefix}{files.ACCURACY}":
            accuracies = pack.model(name, Accuracies)
        else:
            variant, sha256, inner = name.removeprefix(prefix).split("/", 2)
            groups.setdefault(f"{variant}/{sha256}", {})[inner] = name
    variants = tuple(_packed_variant(pack, place, group) for place, group in groups.items())
    return SharedVariants(accuracies, variants)


def _packed_variant(pack: Pack, place: str, names: dict[str, str]) -> SharedVariant:
    if files.ARTIFACT not in names:
        pack.refuse(f"{min(names.values())} belongs to no {files.ARTIFACT}")
    artifact = pack.model(names.pop(files.ARTIFACT), Artifact)
    tables = {
        name: pack.read(names.pop(name))
        for name in (files.PREDICTIONS, files.SWAPPED)
        if name in names
    }
    timings = []
    for inner, name in sorted(names.items()):
        timing = pack.model(name, Timing)
        if inner != f"{files.DEVICES}/{file_name(timing.device.name)}.json":
            pack.refuse(f"{name} is of another device")
        timings.append(timing)
    found = SharedVariant(artifact, tuple(timings), tables)
    if found.place != place:
        pack.refuse(f"{files.DEPLOY}/{place} is of another artifact")
    return found


def verify_variants(shared: SharedVariants, record: RunRecord, folder: Path) -> None:
    """Raise PackError unless figures of variants follow from their predictions.

    `folder` holds the tables of the run, which must have been verified, and nothing else.
    """
    where = f"run {record.spec.name[:120]} ({record.run_id}): deployed variants"
    try:
        test = read_test_set(folder, record)
        for item in shared.variants:
            _verify_artifact(item, record)
            _write(item, Deployments(folder))
            if item.tables:
                _verify_predictions(item, Deployments(folder).folder(item.artifact), test)
        if problem := _problem_of_accuracies(shared, FinishedRun(RunFolder(folder), record)):
            raise PackError(problem)
    except UserError as error:
        raise PackError(f"{where}: {str(error).replace(f'{folder}/', '')}") from None
    except Exception as error:  # of pyarrow and pandas: cells may be of any type
        first = first_line(error)[:200]
        raise PackError(f"{where}: one of their tables cannot be read: {first}") from None


def _problem_of_accuracies(shared: SharedVariants, found: FinishedRun) -> str:
    """What of the accuracies does not follow from the predictions; empty if all of it does."""
    known = shared.accuracies
    if known is None:
        judged = any(item.tables for item in shared.variants)
        return "predictions without accuracies" if judged else ""
    if not is_shareable(known):
        return "their accuracies have paths"
    computed = compute_accuracies(found)
    apart = other_figures(known, computed, _DERIVED)
    return f"{apart[0]} is not that of the predictions" if apart else ""


def _verify_artifact(item: SharedVariant, record: RunRecord) -> None:
    """Raise PackError if an artifact or its measurements are not as `bench deploy` writes them."""
    artifact, name = item.artifact, item.artifact.variant
    variant = VARIANTS.get(name)
    if artifact.run_id != record.run_id:
        raise PackError(f"{name} is of another run")
    if variant is not None and artifact.base != variant.base:
        raise PackError(f"{name} is compared with {artifact.base}, not with {variant.base}")
    low = next((word for word in ("int8", "bfloat16") if name.endswith(word)), "float32")
    if variant is not None and artifact.precision != low:
        raise PackError(f"{name} does not compute in {artifact.precision[:40]}")
    if not is_time(artifact.built_at) or artifact.size_bytes < 0 or not artifact.files:
        raise PackError(f"{name} has no valid time, size or files")
    if not is_shareable(artifact):
        raise PackError(f"{name} has paths")
    for timing in item.timings:
        if (timing.run_id, timing.variant, timing.artifact) != (
            record.run_id, name, artifact.sha256,
        ):  # fmt: skip
            raise PackError(f"a measurement of {name} is of another artifact")
        if not is_shareable(timing):
            raise PackError(f"a measurement of {name} has paths")
        if not is_time(timing.measured_at):
            raise PackError(f"a measurement of {name} has no valid time")


def _verify_predictions(item: SharedVariant, folder: Path, test: TestSet) -> None:
    """Raise PackError unless the tables in `folder` are predictions for the test images."""
    name = item.artifact.variant
    if item.tables.keys() != {files.PREDICTIONS, files.SWAPPED}:
        raise PackError(f"{name} lacks a table of predictions")
    shares = shares_of(test.classes)
    path = folder / files.PREDICTIONS
    require_table(path, ("id", "label", "answer", *shares), len(test))
    table = pd.read_parquet(path).sort_values("id", kind="stable")
    values = table[shares].to_numpy(dtype=np.float32)
    expected = (len(test), len(test.classes))
    labels = [test.classes[place] for place in test.labels]
    if tuple(table["id"].astype(str)) != tuple(test.ids) or table["label"].tolist() != labels:
        raise PackError(f"{name} has predictions of other images")
    if problem := not_probabilities(values, expected):
        raise PackError(f"{name}: {problem}")
    if table["answer"].tolist() != [test.classes[place] for place in values.argmax(axis=1)]:
        raise PackError(f"{name} has answers that are not the most probable classes")
    swapped = _array(item.tables[files.SWAPPED], len(test.classes))
    if swapped is None or not 0 < len(swapped) <= min(MAX_SWAPPED, len(test)):
        raise PackError(f"{name}: {files.SWAPPED} is not an array of probabilities")
    if not_probabilities(swapped, (len(swapped), len(test.classes))):
        raise PackError(f"{name}: {files.SWAPPED} has values that are no probabilities")


def _array(content: bytes, columns: int) -> npt.NDArray[np.float32] | None:
    """Read an array float32 [n, columns] of the npy format; None if the bytes are anything else."""
    file = io.BytesIO(content)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            return None
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except ValueError:
        return None
    rest = content[file.tell() :]
    if dtype != np.dtype("<f4") or len(shape) != 2 or shape[1] != columns:
        return None
    if len(rest) != 4 * math.prod(shape):
        return None
    return np.frombuffer(rest, dtype="<f4").reshape(shape, order="F" if fortran else "C")


@dataclass
class MergedVariants:
    """What was said while variants of one run were merged."""

    conflicts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def merge_variants(shared: SharedVariants, found: FinishedRun) -> MergedVariants:
    """Add the variants, and devices, that the run in a store lacks; nothing is overwritten.

    Accuracies of all variants hold together, so they are computed again if some were added.
    """
    deployments, said = Deployments(found.folder.path), MergedVariants()
    known = {artifact.variant for artifact in deployments.artifacts()}
    own = deployments.accuracies()
    theirs = shared.accuracies
    if own is not None and theirs is not None and own.reference != theirs.reference:
        said.conflicts.append("deployed variants of other parameters")
        return said
    added = False
    for item in shared.variants:
        name = item.artifact.variant
        if name not in known:
            _write(item, deployments)
            added = True
        elif not (deployments.folder(item.artifact) / files.ARTIFACT).is_file():
            said.conflicts.append(f"artifact of {name}")
        else:
            _merge_known(item, deployments, said)
    if added and theirs is not None and not known:
        deployments.write_accuracies(theirs)
    elif added:
        with contextlib.suppress(DeployError):  # the reference has not been measured
            judge_variants(found)
    return said


def _merge_known(item: SharedVariant, deployments: Deployments, said: MergedVariants) -> None:
    """Add the devices that an artifact in the store lacks."""
    name, folder = item.artifact.variant, deployments.folder(item.artifact)
    for table, content in item.tables.items():
        path = folder / table
        if not path.is_file() or not _equal(path, content):
            said.conflicts.append(f"predictions of {name}")
            return
    own = {file_name(it.device.name): it for it in deployments.timings(item.artifact)}
    for timing in item.timings:
        here = own.get(file_name(timing.device.name))
        if here is None:
            deployments.write_timing(item.artifact, timing)
        elif other_figures(shareable(here), timing, _DERIVED):
            said.notes.append(
                f"{name} on {timing.device.name}: latency {here.latency_ms_median:.2f} ms in the "
                f"store, {timing.latency_ms_median:.2f} ms in the pack"
            )


def _equal(path: Path, content: bytes) -> bool:
    """Whether a file of predictions has the same content, whichever library wrote it."""
    own = path.read_bytes()
    return equal_tables(own, content) if path.name == files.PREDICTIONS else own == content


def _write(item: SharedVariant, deployments: Deployments) -> None:
    folder = deployments.folder(item.artifact)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in item.tables.items():
        write_bytes(folder / name, content)
    RunFolder(folder).write(files.ARTIFACT, item.artifact)
    for timing in item.timings:
        deployments.write_timing(item.artifact, timing)
