"""Build and measure the variants of a finished run, and pair them with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmark.deploy.accuracy import judge_variants
from benchmark.deploy.build import BuildOptions, build_artifact
from benchmark.deploy.measure_variant import measure_inputs, measure_variant
from benchmark.deploy.processor import this_device
from benchmark.deploy.variants import REFERENCE, Variant
from benchmark.errors import DeployError
from benchmark.runs.deployments import HERE, Accuracies, Deployed, Deployments
from benchmark.runs.find import FoundRun
from clothclf.cost.measure.busy import usable_cores

Notify = Callable[[str], None]


@dataclass(frozen=True)
class DeployOptions:
    """What to measure, and how."""

    variants: Sequence[Variant]
    """The reference first."""
    build: BuildOptions = field(default_factory=BuildOptions)
    device: str = HERE
    """Name of this machine in results."""
    threads: int | None = None
    """Number of threads of each runtime; None for the usable cores."""


@dataclass(frozen=True)
class DeployedRun:
    """The measured variants of one run."""

    found: FoundRun
    accuracies: Accuracies
    deployed: list[Deployed]
    """All variants of the run on all devices, those of earlier measurements included."""
    skipped: dict[str, str]
    """Variants that could not be built or measured now, with the reason."""


def deploy_run(found: FoundRun, options: DeployOptions, notify: Notify) -> DeployedRun:
    """Build, measure and judge the variants of a finished run; results are stored beside it.

    A variant that fails is skipped, and the others go on. Raises DeployError if the reference
    fails, since nothing can be compared then, and for test images that are gone.
    """
    device = this_device(options.device, options.threads or len(usable_cores()))
    skipped: dict[str, str] = {}
    with measure_inputs(found, notify) as inputs:
        for variant in options.variants:
            try:
                notify(f"{found.record.spec.name}: building {variant.name}")
                artifact = build_artifact(found, variant, options.build)
                notify(f"{found.record.spec.name}: measuring {variant.name}")
                measure_variant(found, artifact, inputs, device)
            except DeployError as error:
                if variant.name == REFERENCE:
                    raise DeployError(f"{found.name}: variant {REFERENCE}: {error}") from None
                skipped[variant.name] = str(error)
                notify(f"{found.record.spec.name}: skipped {variant.name}: {error}")
    accuracies = judge_variants(found)
    return DeployedRun(found, accuracies, Deployments(found.folder.path).all(), skipped)
