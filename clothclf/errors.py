"""Errors that a user can fix: one sentence each, shown without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An input cannot be used. The message says what is wrong, where, and how to fix it."""


class SettingsError(UserError):
    """The settings are not valid. The message has one line per error."""


class InvalidSettingsError(SettingsError, ValueError):
    """Settings constructed in Python are not valid. A ValueError, like pydantic's own error."""


class DataError(UserError):
    """The data set cannot be read, filtered or split as requested."""


class ArchitectureError(UserError):
    """The architecture is unknown, or cannot be built or run as requested."""


class WeightsError(UserError):
    """The weights are missing or do not match the architecture."""


class DeviceError(UserError):
    """The requested device is not available."""


class TrainingError(UserError):
    """Training cannot continue with this recipe, for example because the loss is not finite."""


class TrainingStopped(Exception):  # noqa: N818 - not an error
    """Training stopped on request. A checkpoint was written to resume from."""


class CostError(UserError):
    """The cost of an architecture cannot be counted or measured."""


def did_you_mean(word: str, known: Iterable[str], limit: int = 3) -> str:
    """Return `` (did you mean …?)`` with the names closest to `word`, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=20, cutoff=0.6)
    # difflib breaks ties in reverse alphabetical order: efficientnet_b8 before efficientnet_b0.
    near.sort(key=lambda name: (-difflib.SequenceMatcher(None, name, word).ratio(), name))
    return f" (did you mean {' or '.join(near[:limit])}?)" if near else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class name if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
