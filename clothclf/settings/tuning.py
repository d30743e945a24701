"""Settings of tuning: which training settings are tried, on how many trials, and for how long."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from clothclf.errors import InvalidSettingsError, did_you_mean
from clothclf.settings.base import Settings
from clothclf.settings.training import TrainSettings

SEED = 20_190_902
"""Seed of the scrambled Sobol sequence, so that every architecture gets the same points."""
MAX_EPOCHS = 3
"""Default maximum epochs of the first trials."""
MAX_TRIALS = 256
INVALID_PER_POINT = 16
"""Maximum draws for each point, since settings may not fit together."""

NOT_TUNED = frozenset(
    {
        *("epochs", "patience", "batch_size", "sampling", "augment"),
        *("ema", "teacher", "optimizer_options"),
    }
)
"""Training settings that all trials share: they fix the length of a training and what it sees, or
are sections."""
TUNABLE = tuple(key for key in TrainSettings.model_fields if key not in NOT_TUNED)

Value = bool | int | float | Annotated[str, Field(max_length=40)] | None
Choices = Annotated[tuple[Value, ...], Field(min_length=1, max_length=100)]


class RangeSettings(Settings):
    """Range of a number, with both ends."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Whether values are uniform on a logarithmic scale."""

    @model_validator(mode="after")
    def _not_empty(self) -> RangeSettings:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"a range with log: true must be above 0, not from {self.low:g}")
        return self

    def at(self, share: float) -> float:
        """Return the value at a share of the range, 0 to 1."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return min(max(math.exp(low + share * (high - low)), self.low), self.high)
        return self.low + share * (self.high - self.low)

    def share(self, value: float) -> float:
        """Return the place of a value in the range; below 0 or above 1 outside of it."""
        if self.log:
            if value <= 0:
                return -math.inf
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


DEFAULT_SPACE: dict[str, RangeSettings | tuple[Value, ...]] = {
    "optimizer": ("sgd", "adamw"),
    "learning_rate": RangeSettings(low=1e-4, high=1e-1, log=True),
    "weight_decay": RangeSettings(low=1e-5, high=1e-1, log=True),
}


class TuningSettings(Settings):
    """Tuning of training settings within each run: short trials, judged on validation."""

    trials: Annotated[int, Field(ge=2, le=MAX_TRIALS)] = 6
    """Number of trials; the first one has the study's own settings."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Epochs of the first trials; by default, at most 3, and 1 where each epoch runs the whole
    network."""
    space: dict[str, RangeSettings | Choices] = Field(default_factory=lambda: dict(DEFAULT_SPACE))
    """Settings to try by key of `train`: a list of choices, or a range `{low, high, log}`."""

    @field_validator("space", mode="before")
    @classmethod
    def _readable(cls, space: object) -> object:
        """Check keys and ranges, with one message for each instead of one per alternative type."""
        if not isinstance(space, Mapping):
            return space
        if not space:
            raise ValueError("is empty; name a setting of train, such as learning_rate")
        for key, values in space.items():
            if key not in TUNABLE:
                raise ValueError(_not_tunable(str(key)))
            _check_values(key, values)
        return {k: tuple(v) if isinstance(v, list) else v for k, v in space.items()}

    def points(self, train: TrainSettings) -> list[TrainSettings]:
        """Return the settings of all trials: those of `train` first, then points of the space.

        The points are a scrambled Sobol sequence with a fixed seed, so that they depend on the
        space only. Repeated ones and combinations that do not fit together are skipped. Raises
        InvalidSettingsError if there are not enough.
        """
        import numpy as np
        from scipy.stats import qmc

        missing = self.trials - 1
        sobol = qmc.Sobol(len(self.space), seed=np.random.default_rng(SEED))
        draws = sobol.random_base2(math.ceil(math.log2(INVALID_PER_POINT * missing)))
        distinct, reason = [train], ""
        for draw in draws:
            try:
                settings = self._settings(train, self._values(draw))
                if settings not in distinct:
                    distinct.append(settings)
            except InvalidSettingsError as error:
                reason = reason or str(error).removeprefix("TrainSettings: ")
            if len(distinct) == self.trials:
                return distinct
        raise InvalidSettingsError(
            f"tuning.space: only {len(distinct) - 1} of {missing} further trials get "
            f"valid settings of their own{reason and f': {reason}'}; reduce tuning.trials or "
            "widen the space"
        )

    def changed(self, settings: TrainSettings) -> dict[str, Any]:
        """Return the values of the settings that the space covers."""
        return {key: getattr(settings, key) for key in self.space}

    def rungs(self, epochs: int, heads_only: bool) -> list[tuple[int, int]]:
        """Return the number of trials and their epochs in each rung (successive halving).

        Half of the trials, rounded up, continue as new trainings of twice the epochs, up to
        `epochs`, those of the full training. Unless they train `heads_only`, on cached features,
        all trials together train no more epochs than that after the first rung.
        """
        count, length = self.trials, min(self._first_epochs(epochs, heads_only), epochs)
        rungs = [(count, length)]
        total = count * length
        while count > 2:
            count, length = math.ceil(count / 2), 2 * length
            total += count * length
            if length > epochs or (total > epochs and not heads_only):
                break
            rungs.append((count, length))
        return rungs

    def total_epochs(self, epochs: int, heads_only: bool) -> int:
        """Return the epochs of all trials before a training of `epochs`."""
        return sum(count * length for count, length in self.rungs(epochs, heads_only))

    def _first_epochs(self, epochs: int, heads_only: bool) -> int:
        if self.epochs is not None:
            return self.epochs
        if heads_only:
            return MAX_EPOCHS
        return min(MAX_EPOCHS, max(1, epochs // (self.trials * math.ceil(math.log2(self.trials)))))

    def _values(self, draw: Any) -> Iterator[tuple[str, Any]]:
        for (key, values), share in zip(self.space.items(), draw, strict=True):
            if isinstance(values, RangeSettings):
                value: Any = values.at(float(share))
                yield key, round(value) if _is_whole(key) else float(f"{value:.4g}")
            else:
                yield key, values[min(int(share * len(values)), len(values) - 1)]

    def _settings(self, train: TrainSettings, values: Iterator[tuple[str, Any]]) -> TrainSettings:
        changes = dict(values)
        if changes.get("optimizer", train.optimizer) != train.optimizer:
            changes["optimizer_options"] = {}  # the study's options apply to its optimizer
        return TrainSettings(**{**dict(train), **changes})


def _not_tunable(key: str) -> str:
    if key in NOT_TUNED:
        return f"{key}: cannot be tuned; all trials share it (tunable: {', '.join(TUNABLE)})"
    hint = did_you_mean(key, TUNABLE) or f" (known: {', '.join(TUNABLE)})"
    return f"{key}: is no setting of train{hint}"


def _check_values(key: str, values: object) -> None:
    """Raise ValueError with a message that starts with the key."""
    if isinstance(values, (list, tuple)):
        if not values:
            raise ValueError(f"{key}: lists no value")
        ends: list[object] = list(values)
    elif isinstance(values, (Mapping, RangeSettings)):
        try:
            limits = RangeSettings.model_validate(values)
        except ValidationError as error:
            detail = error.errors()[0]
            name = ".".join([key, *map(str, detail["loc"])])
            raise ValueError(f"{name}: {_plain(detail['msg'])}") from None
        whole = _is_whole(key)
        ends = [round(end) if whole else end for end in (limits.low, limits.high)]
    else:
        raise ValueError(f"{key}: should be a list of values, or a range {{low, high, log}}")
    for value in ends:
        try:
            TrainSettings.model_validate({key: value}, strict=True)
        except ValidationError as error:
            # Settings that need others are checked as whole points.
            for detail in error.errors():
                if detail["loc"]:
                    raise ValueError(f"{key}: {_plain(detail['msg'])}, not {value!r}") from None


def _plain(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _is_whole(key: str) -> bool:
    annotation = TrainSettings.model_fields[key].annotation
    kinds = {annotation, *get_args(annotation)}
    return int in kinds and float not in kinds
