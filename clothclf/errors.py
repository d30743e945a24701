"""Errors that a user can mend: one sentence each, shown without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user gave cannot be used; the message says what, where and what to do."""


class SettingsError(UserError):
    """The settings are not valid; the message has one line for each fault."""


class InvalidSettingsError(SettingsError, ValueError):
    """Settings that Python code constructs are not valid; a ValueError, as pydantic raises."""


class DataError(UserError):
    """The data set cannot be read, filtered or split as asked."""


class ArchitectureError(UserError):
    """The architecture is unknown, or cannot be built or run as asked."""


class WeightsError(UserError):
    """The weights are missing or do not belong to the architecture."""


class DeviceError(UserError):
    """The device asked for is not there."""


class TrainingError(UserError):
    """Training cannot go on: the recipe, not the program, has to change."""


class TrainingStopped(Exception):  # noqa: N818 - nothing went wrong
    """Training was asked to stop, and a checkpoint tells where to go on."""


class CostError(UserError):
    """The cost of an architecture cannot be counted."""


def did_you_mean(word: str, known: Iterable[str], limit: int = 3) -> str:
    """Return `` (did you mean …?)`` with the names nearest to `word`, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=20, cutoff=0.6)
    # difflib breaks ties from the end of the alphabet: efficientnet_b8 before efficientnet_b0.
    near.sort(key=lambda name: (-difflib.SequenceMatcher(None, name, word).ratio(), name))
    return f" (did you mean {' or '.join(near[:limit])}?)" if near else ""


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
