"""Resolve the initial weights of a study's architectures, for all commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmark.config.study import StudySettings
from clothclf.errors import SettingsError
from clothclf.settings import ArchitectureSettings

if TYPE_CHECKING:
    from clothclf.results import Weights


def weights_of(study: StudySettings) -> Callable[[ArchitectureSettings], Weights]:
    """Return a function that resolves an entry's weights; it queries the hub at most once.

    The function raises SettingsError for an entry with its own weights under `mode: scratch`, and
    WeightsError, with the remedy, if weights are not available.
    """
    from clothclf.models.weights import WeightsResolver

    scratch = study.model.mode == "scratch"
    resolver = WeightsResolver("none" if scratch else study.model.weights)

    def resolve(entry: ArchitectureSettings) -> Weights:
        if scratch and entry.weights not in (None, "auto", "none"):
            raise SettingsError(
                f"architectures: {entry.name}: mode: scratch starts from random weights: remove "
                "its weights"
            )
        return resolver.resolve(entry.name, None if scratch else entry.weights)

    return resolve
