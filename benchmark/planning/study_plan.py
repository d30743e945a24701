"""Plan a study: check architectures, weights, data and recipe, and list the runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console

from benchmark.config.study import StudySettings, to_yaml
from benchmark.engine.probe import with_precision
from benchmark.planning.architecture_names import ArchitectureMatch, find_architectures
from benchmark.planning.initial_weights import weights_of
from benchmark.planning.preflight import check_once
from benchmark.planning.teachers import find_teachers
from benchmark.runs import run_folder as files
from benchmark.runs.find import with_teachers
from benchmark.runs.root import cache_folder
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec, make_plan
from benchmark.terminal.output import prepare_with_progress
from clothclf.csv_text import frame_csv
from clothclf.data.atomic import new_file, write_text
from clothclf.data.dataset import DataSet
from clothclf.errors import DataError
from clothclf.results import Weights
from clothclf.settings import ArchitectureSettings

MAX_SHRINKING = 3
"""Maximum ratio of stored to network image size without a warning."""
MAX_LEFT_OUT = 20
"""Maximum number of excluded architectures to list individually."""


def check_device(study: StudySettings) -> None:
    """Raise DeviceError if the study's device is not available on this machine."""
    from clothclf.device import select_device

    select_device(study.device)


def plan_study(
    study: StudySettings,
    patterns: Sequence[str],
    root: Path,
    console: Console,
    may_probe: bool = True,
) -> tuple[list[RunSpec], DataSet]:
    """Plan the runs of the architectures that match `patterns`, or of all; raises UserError.

    Returns the runs and their data. The data set's pixels are those of the first run; each run
    names its own. Without `may_probe`, a precision that needs a probe stays undecided.
    """

    def notify(text: str) -> None:
        console.print(text, style="yellow", markup=False)

    console.print(f"study {study.study}: reading data and architectures")
    cache = cache_folder(root)
    chosen = find_architectures(study, patterns, cache, notify)
    _notify_left_out(console, chosen)
    entries = [item.entry for item in chosen if not item.out]
    weights = _resolve_weights(study, entries, console)
    check_once(study, entries, weights, cache)
    data, pixels = prepare_sizes(study, entries, console)
    warn_of_shrinking(data, pixels, console)
    teachers = find_teachers(study, data)
    with_runs = with_teachers(study, [teacher.run_id for teacher in teachers])
    plan = make_plan(with_runs, entries, data.summary, pixels, cache, weights, teachers)
    return [with_precision(spec, notify, may_probe) for spec in plan], data


def _notify_left_out(console: Console, chosen: Sequence[ArchitectureMatch]) -> None:
    out = [item for item in chosen if item.out]
    if not out:
        return
    console.print(f"architectures: {len(chosen) - len(out)} selected, {len(out)} excluded")
    for item in out[:MAX_LEFT_OUT]:
        line = f"excluded: {item.entry.name} at {item.image_size} px: {item.out}"
        console.print(line, markup=False, highlight=False)
    if len(out) > MAX_LEFT_OUT:
        console.print(f"excluded: and {len(out) - MAX_LEFT_OUT} more")


def prepare_sizes(
    study: StudySettings, entries: Sequence[ArchitectureSettings], console: Console
) -> tuple[DataSet, dict[int, Path]]:
    """Prepare the data, and the file of decoded images for each image size of the runs."""
    sizes = sorted({entry.image_size for entry in entries if isinstance(entry.image_size, int)})
    by_size: dict[int, DataSet] = {}
    for size in sizes:
        at_size = study.data.model_copy(update={"image_size": size})
        by_size[size] = prepare_with_progress(study.model_copy(update={"data": at_size}), console)
    first = by_size[sizes[0]]
    for size, data in by_size.items():
        if data.summary != first.summary or not data.manifest.equals(first.manifest):
            raise DataError(
                f"data.path: the images at {size} px differ from those at {sizes[0]} px; they may "
                "have changed in the meantime. Run the command again"
            )
    return first, {size: data.pixels for size, data in by_size.items()}


def warn_of_shrinking(data: DataSet, sizes: Iterable[int], console: Console) -> None:
    """Warn if images are downscaled so much that detail may be lost; sizes are in pixels."""
    shrunk = [size for size in sorted(sizes) if data.stored_side > MAX_SHRINKING * size]
    if shrunk:
        console.print(
            f"images are stored at {data.stored_side:,} px (median of the shorter side) and "
            f"downscaled to {', '.join(map(str, shrunk))} px (data.image_size): detail needed to "
            "distinguish classes may be lost; data.image_size: native uses each architecture's own "
            "size",
            style="yellow",
        )


def _resolve_weights(
    study: StudySettings, entries: Sequence[ArchitectureSettings], console: Console
) -> dict[str, Weights]:
    resolve = weights_of(study)
    weights = {entry.name: resolve(entry) for entry in entries}
    for note in sorted({item.note for item in weights.values() if item.note}):
        console.print(f"weights are random: {note}", style="yellow")
    return weights


def folder_writer(study: StudySettings, data: DataSet) -> Callable[[RunFolder, RunSpec], None]:
    """Return a function that writes the input files of a run to its folder."""

    def write(folder: RunFolder, spec: RunSpec) -> None:
        write_text(folder.path / files.CONFIG, to_yaml(study))
        with new_file(folder.path / files.MANIFEST) as unfinished:
            data.manifest.to_parquet(unfinished, index=False)
        write_text(folder.path / files.FINDINGS, frame_csv(data.findings))

    return write
