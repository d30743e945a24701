"""The moving average of what trains, which stands in for it in validation and in what is saved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from clothclf.models.classifier import Classifier
from clothclf.settings import EmaSettings


class Average:
    """timm's ModelEmaV3 of a module, or of its head where only that moves."""

    def __init__(self, module: nn.Module, settings: EmaSettings) -> None:
        """`module` is a classifier, or its head alone; `settings.decay` must be set."""
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
        """Take in a step's result; steps count from 1 over all epochs, and the first is copied."""
        self._ema.update(self._live, step)

    @contextlib.contextmanager
    def in_place_of(self, module: nn.Module) -> Iterator[nn.Module]:
        """The module with the average's parameters, for a while."""
        if self._head_of is None:
            yield self._ema.module
            return
        live, self._head_of.head = self._head_of.head, self._ema.module
        try:
            yield module
        finally:
            self._head_of.head = live

    def put_into(self, state: dict[str, Tensor], classifier: Classifier) -> dict[str, Tensor]:
        """A classifier's state with the average in place of what it is an average of."""
        prefix = "" if self._live is classifier else "head."
        own = {f"{prefix}{name}": value for name, value in self._ema.module.state_dict().items()}
        return {name: own[name].clone() if name in own else state[name] for name in state}

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold."""
        return dict(self._ema.module.state_dict())

    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._ema.module.load_state_dict(state)


def make_average(module: nn.Module, settings: EmaSettings) -> Average | None:
    """The recipe's average, where it has one."""
    return None if settings.decay is None else Average(module, settings)


def _only_head(classifier: Classifier) -> bool:
    return classifier.frozen and not classifier.drifting
