"""Measure the speed of this machine at the start of a selection."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmark.config.study import StudySettings
from benchmark.engine.probe import run_probe, time_run
from benchmark.runs.root import cache_folder
from benchmark.runs.spec import RunSpec, make_plan
from benchmark.select.rung import Speed
from benchmark.select.rung_studies import fine_tuning
from benchmark.select.selection_state import Candidate
from clothclf.cost.measure.busy import busy_now
from clothclf.cost.quick import backbone_request, count_many
from clothclf.data.dataset import DataSet
from clothclf.errors import TrainingError, UserError
from clothclf.results import Weights
from clothclf.settings import ArchitectureSettings

DENSE, SPARSE = "resnet18", "mobilenetv3_large_100"
"""Reference networks with high and low hardware efficiency per multiply-add."""
TIMEOUT_S = 120.0
AFTER_STARTUP_S = 2.5
"""Seconds of a run that are not modelled: opening images, evaluating, saving."""
COUNTING_PER_STARTUP = 1.6
MEASURING_S = 15.0
HEAD_STEP_S = 0.0005
ASSUMED = Speed(
    seconds_per_gmac=0.02,
    seconds_per_root_gmac=0.01,
    training=4.0,
    head_step_s=HEAD_STEP_S,
    start_s=7.0,
    count_s=6.0,
    measure_s=MEASURING_S,
    workers=1,
)
"""Speed of one core of a server CPU, used if nothing can be timed."""


def time_machine(
    study: StudySettings,
    data: DataSet,
    pixels: Mapping[int, Path],
    root: Path,
    workers: int,
    few: Sequence[Candidate],
    notify: Callable[[str], None],
) -> Speed:
    """Time both reference networks, or read earlier timings of this machine.

    With only a few candidates (`few`), times one of them instead. `pixels` are the files of
    decoded images by size, of which the smallest is used.
    """
    size = min(pixels)
    busy = busy_now()
    names = [middle(few).architecture.name] if few else [DENSE, SPARSE]
    references = [ArchitectureSettings(name=name, image_size=size) for name in names]
    timed = study.model_copy(
        update={
            "model": study.model.model_copy(
                update={
                    "mode": "finetune",
                    "batch_norm": "fixed",
                    "standardize_features": False,
                    "precision": "float32",
                }
            ),
            "train": fine_tuning(),
            "seeds": study.seeds[:1],
        }
    )
    random = {name: Weights("random", "random", "", None) for name in names}
    cache = cache_folder(root)
    specs = make_plan(timed, references, data.summary, pixels, cache, random)
    try:
        counts = count_many([backbone_request(name, size) for name in names], cache)
        timings = [
            # A probe times the training form.
            _timed(spec, (count.training_macs or count.macs) / 1e9, notify, busy)
            for spec, count in zip(specs, counts, strict=True)
            if count.macs
        ]
    except UserError as error:
        notify(f"time estimates assume a default CPU speed: {error}")
        return ASSUMED.model_copy(update={"workers": workers})
    if len(timings) < len(specs):
        return ASSUMED.model_copy(update={"workers": workers})
    if few:
        return at_speed_of(timings[0], ASSUMED.model_copy(update={"workers": workers}))
    return fit_speed(timings, workers)


def middle(candidates: Sequence[Candidate]) -> Candidate:
    """Candidate with the median cost."""
    return sorted(candidates, key=lambda candidate: candidate.gmacs or 0.0)[len(candidates) // 2]


def time_finalist(
    spec: RunSpec, gmacs: float | None, speed: Speed, notify: Callable[[str], None]
) -> Speed:
    """Measure the current speed with the training of finalists."""
    notify(f"timing this training with {spec.name}")
    try:
        timing = run_probe(spec, TIMEOUT_S)
    except TrainingError as error:
        notify(f"time estimates are unchanged: {error}")
        return speed
    if timing.busy:
        notify(f"{timing.busy}: training takes longer")
    times = timing.times[spec.precision]
    step_s = times.step_s / spec.train.batch_size
    known = 1.0 if gmacs is None else gmacs
    return at_speed_of((known, times.forward_s, step_s, timing.startup_s), speed)


Timed = tuple[float, float, float, float]
"""GMACs, then seconds of a forward pass and a training step of one image, and of a start."""


def at_speed_of(timed: Timed, speed: Speed) -> Speed:
    """Scale `speed` to match the timing of one network."""
    gmacs, forward_s, step_s, start_s = timed
    slower = forward_s / speed.forward_s(gmacs)
    return speed.model_copy(
        update={
            "seconds_per_gmac": speed.seconds_per_gmac * slower,
            "seconds_per_root_gmac": speed.seconds_per_root_gmac * slower,
            "training": step_s / forward_s,
            "start_s": start_s + AFTER_STARTUP_S,
            "count_s": COUNTING_PER_STARTUP * start_s,
            "measured": True,
        }
    )


def _timed(spec: RunSpec, gmacs: float, notify: Callable[[str], None], busy: str) -> Timed:
    timing = time_run(spec, notify, TIMEOUT_S, busy)
    if timing.busy:
        notify(f"{timing.busy}: the machine is slower, so less fits into the budget")
    times = timing.times["float32"]
    return gmacs, times.forward_s, times.step_s / spec.train.batch_size, timing.startup_s


def fit_speed(timings: list[Timed], workers: int) -> Speed:
    """Fit both factors of the forward pass to two networks; neither is negative."""
    (dense, dense_s, dense_step_s, one), (sparse, sparse_s, sparse_step_s, other) = timings
    root, sparse_root = math.sqrt(dense), math.sqrt(sparse)
    determinant = dense * sparse_root - sparse * root
    linear = (dense_s * sparse_root - sparse_s * root) / determinant
    rooted = (dense * sparse_s - sparse * dense_s) / determinant
    if linear < 0:
        linear, rooted = 0.0, max(dense_s / root, sparse_s / sparse_root)
    elif rooted < 0:
        linear, rooted = max(dense_s / dense, sparse_s / sparse), 0.0
    start_s = (one + other) / 2
    return Speed(
        seconds_per_gmac=_two_digits(linear),
        seconds_per_root_gmac=_two_digits(rooted),
        training=_two_digits((dense_step_s / dense_s + sparse_step_s / sparse_s) / 2),
        head_step_s=HEAD_STEP_S,
        start_s=_two_digits(start_s + AFTER_STARTUP_S),
        count_s=_two_digits(COUNTING_PER_STARTUP * start_s),
        measure_s=MEASURING_S,
        workers=workers,
        measured=True,
    )


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")
