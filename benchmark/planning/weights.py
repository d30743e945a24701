"""Where the parameters of a study's architectures come from, the same for every verb."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmark.config.study import StudySettings
from clothclf.errors import SettingsError
from clothclf.settings import ArchitectureSettings

if TYPE_CHECKING:
    from clothclf.results import Weights


def weights_of(study: StudySettings) -> Callable[[ArchitectureSettings], Weights]:
    """A function from an entry of the study to its weights; it asks the hub once at most.

    The function raises SettingsError for an entry with weights of its own under `mode: scratch`,
    and WeightsError, with the remedy, where weights cannot be had.
    """
    from clothclf.models.weights import WeightsResolver

    scratch = study.model.mode == "scratch"
    resolver = WeightsResolver("none" if scratch else study.model.weights)

    def resolve(entry: ArchitectureSettings) -> Weights:
        if scratch and entry.weights not in (None, "auto", "none"):
            raise SettingsError(
                f"architectures: {entry.name}: mode: scratch starts from random weights: leave "
                "out its weights"
            )
        return resolver.resolve(entry.name, None if scratch else entry.weights)

    return resolve
