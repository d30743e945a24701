"""Exponential moving average (EMA) of the trained parameters, used for validation and saving."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from clothclf.models.classifier import Classifier
from clothclf.settings import EmaSettings


class Average:
    """EMA of a module by timm's ModelEmaV3, or of its head if only the head trains."""

    def __init__(self, module: nn.Module, settings: EmaSettings) -> None:
        """`module` is a classifier or its head; `settings.decay` must be set."""
        from timm.utils import ModelEmaV3

        self._head_of = module if isinstance(module, Classifier) and _only_head(module) else None
        self._live = module if self._head_of is None else self._head_of.head
        # A warm-up of gamma 10 and power 1 is 1 - 1 / (1 + s / 10) = s / (s + 10).
        self._ema: Any = ModelEmaV3(
            self._live,
            decay=settings.decay,
            use_warmup=settings.warmup,
            warmup_gamma=10.0,
            warmup_power=1.0,
        )

    def update(self, step: int) -> None:
        """Update after a step, counted from 1 over all epochs; the first step is copied."""
        self._ema.update(self._live, step)

    @contextlib.contextmanager
    def in_place_of(self, module: nn.Module) -> Iterator[nn.Module]:
        """Yield the module with the averaged parameters."""
        if self._head_of is None:
            yield self._ema.module
            return
        live, self._head_of.head = self._head_of.head, self._ema.module
        try:
            yield module
        finally:
            self._head_of.head = live

    def put_into(self, state: dict[str, Tensor], classifier: Classifier) -> dict[str, Tensor]:
        """Return a classifier's state with the averaged parameters instead of the current ones."""
        prefix = "" if self._live is classifier else "head."
        own = {f"{prefix}{name}": value for name, value in self._ema.module.state_dict().items()}
        return {name: own[name].clone() if name in own else state[name] for name in state}

    def state(self) -> dict[str, Tensor]:
        """Return the state for a checkpoint."""
        return dict(self._ema.module.state_dict())

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore the result of `state`."""
        self._ema.module.load_state_dict(state)


def make_average(module: nn.Module, settings: EmaSettings) -> Average | None:
    """Create the EMA of a recipe; None if it is disabled."""
    return None if settings.decay is None else Average(module, settings)


def _only_head(classifier: Classifier) -> bool:
    return classifier.frozen and not classifier.drifting
