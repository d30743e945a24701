"""Build and measure the variants of a finished run, and pair them with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmark.deploy.accuracy import judge_variants
from benchmark.deploy.build_variant import BuildOptions, build_artifact
from benchmark.deploy.measure_variant import measure_inputs, measure_variant, time_variant
from benchmark.deploy.processor import this_device
from benchmark.deploy.variants import REFERENCE, Variant
from benchmark.errors import DeployError
from benchmark.runs.deployments import HERE, Accuracies, Artifact, Deployed, Deployments, Timing
from benchmark.runs.find import FinishedRun
from clothclf.cost.measure.busy import usable_cores

Notify = Callable[[str], None]
STEADY = 1.05
"""Ratio of the two lowest latencies up to which a variant is steady. A virtual machine
may be slower for seconds, without a sign of it inside; a round of all variants takes longer."""
MAX_ROUNDS = 4
"""Maximum number of times that a variant is timed, each in a new process."""


@dataclass(frozen=True)
class DeployOptions:
    """What to measure, and how."""

    variants: Sequence[Variant]
    """Variants in order; the reference is first."""
    build: BuildOptions = field(default_factory=BuildOptions)
    device: str = HERE
    """Name of this machine in results."""
    threads: int | None = None
    """Number of threads of each runtime; None for the usable cores."""


@dataclass(frozen=True)
class DeployedRun:
    """The measured variants of one run."""

    finished: FinishedRun
    accuracies: Accuracies
    deployed: list[Deployed]
    """All variants of the run on all devices, those of earlier measurements included."""
    skipped: dict[str, str]
    """Variants that could not be built or measured now, with the reason."""


def deploy_run(run: FinishedRun, options: DeployOptions, notify: Notify) -> DeployedRun:
    """Build, measure and evaluate the variants of a finished run; results are stored in its folder.

    A variant that fails is skipped; the others continue. Raises DeployError if the reference fails,
    since nothing can be compared then, or if the test images are missing.
    """
    device = this_device(options.device, options.threads or len(usable_cores()))
    deployments = Deployments(run.folder.path)
    skipped: dict[str, str] = {}
    rounds: list[tuple[Artifact, list[Timing]]] = []
    with measure_inputs(run, notify) as inputs:
        for variant in options.variants:
            try:
                notify(f"{run.record.spec.name}: building {variant.name}")
                artifact = build_artifact(run, variant, options.build)
                notify(f"{run.record.spec.name}: measuring {variant.name}")
                timing = measure_variant(run, artifact, inputs, device)
                deployments.write_timing(artifact, timing)
                rounds.append((artifact, [timing]))
            except DeployError as error:
                if variant.name == REFERENCE:
                    raise DeployError(f"{run.name}: variant {REFERENCE}: {error}") from None
                skipped[variant.name] = str(error)
                notify(f"{run.record.spec.name}: skipped {variant.name}: {error}")
        for artifact, timings in _unsteady(rounds):
            notify(f"{run.record.spec.name}: measuring {artifact.variant} again")
            try:
                timings.append(time_variant(run, artifact, inputs, device))
            except DeployError as error:
                notify(f"{run.record.spec.name}: {artifact.variant} keeps its figures: {error}")
                timings.append(calmest_of(timings))  # steady now, so not tried again
            deployments.write_timing(artifact, calmest_of(timings))
    accuracies = judge_variants(run)
    return DeployedRun(run, accuracies, deployments.all(), skipped)


def _unsteady(
    rounds: Sequence[tuple[Artifact, list[Timing]]],
) -> Iterator[tuple[Artifact, list[Timing]]]:
    """Iterate over variants in turn until each is steady, but at most MAX_ROUNDS - 1 times."""
    for _ in range(MAX_ROUNDS - 1):
        yield from (item for item in rounds if not is_steady(item[1]))


def is_steady(timings: Sequence[Timing]) -> bool:
    """Whether the two lowest latencies of several rounds agree within STEADY.

    Also if the machine was busy, since the process has already waited and tried again then.
    """
    if timings[-1].busy:
        return True
    lowest = sorted(timing.latency_ms_median for timing in timings)[:2]
    return len(lowest) == 2 and lowest[1] <= STEADY * lowest[0]


def calmest_of(timings: Sequence[Timing]) -> Timing:
    """Return the round with the lowest latency, of those on an idle machine if there are some."""
    return min(timings, key=lambda timing: (bool(timing.busy), timing.latency_ms_median))
