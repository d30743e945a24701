"""Files that the first step leaves for the second, which reads them as untrusted input."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from clothclf.errors import UserError

OUTCOME, COMPARISON, REPORT, PLOT = "outcome.json", "compare.json", "report.json", "plot.png"
MAX_JSON_BYTES = 256 * 2**20
MAX_PLOT_BYTES = 8 * 2**20
PNG = b"\x89PNG\r\n\x1a\n"

Verdict = Literal["passed", "failed", "error", "none"]
"""`none` if no condition was given."""


class _Values(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Outcome(_Values):
    """What was run, and how it ended."""

    command: str
    """The command as a user would type it."""
    key: str
    """Which comment to write: each key has one."""
    title: str
    verdict: Verdict
    conditions: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    """Why there is no verdict."""
    notes: tuple[str, ...] = ()
    """What is missing beside it."""


class Change(_Values):
    """A score of both sides, 0 to 1."""

    baseline: float
    new: float
    difference: float
    interval: tuple[float, float] | None


class CostPair(_Values):
    """A cost of both sides."""

    baseline: float | None
    new: float | None
    ratio: float | None


class Contrast(_Values):
    """One architecture, or two runs."""

    name: str
    accuracy: Change
    verdict: str
    costs: dict[str, CostPair]


class Setting(_Values):
    """A key with different values."""

    key: str
    baseline: str
    new: str


class Comparison(_Values):
    """JSON of `bench compare`."""

    baseline: str
    new: str
    contrasts: tuple[Contrast, ...]
    only_baseline: tuple[str, ...]
    only_new: tuple[str, ...]
    settings: tuple[Setting, ...]
    fails: tuple[str, ...]
    not_judged: tuple[str, ...]


class Row(_Values):
    """A row of a report."""

    name: str
    test_accuracy: float
    test_accuracy_low: float | None
    test_accuracy_high: float | None
    test_macro_f1: float
    macs: int | None
    params: int | None
    latency_ms_median: float | None


class Pick(_Values):
    """The pick of a report, as sentences."""

    trade_off: str | None
    sentence: str
    runner_up_sentence: str
    notes: tuple[str, ...]


class FailedRun(_Values):
    """A run without figures."""

    run: str
    stage: str
    reason: str


class Table(_Values):
    """A comparison of a report."""

    rows: tuple[Row, ...]
    pick: Pick | None
    failed: tuple[FailedRun, ...]
    unfinished: tuple[str, ...]


class Report(_Values):
    """JSON of `bench report`."""

    study: str
    comparisons: tuple[Table, ...]


_Model = TypeVar("_Model", bound=_Values)


def read(path: Path, model: type[_Model]) -> _Model:
    """Read a file of the first step; raises UserError."""
    content = _content(path, MAX_JSON_BYTES)
    try:
        return model.model_validate_json(content or b"")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{path.name}: {place or 'content'}: {first['msg']}") from None


def read_plot(path: Path) -> bytes | None:
    """Return the plot, or None without one that GitHub would show."""
    content = _content(path, MAX_PLOT_BYTES)
    return content if content is not None and content.startswith(PNG) else None


def _content(path: Path, limit: int) -> bytes | None:
    """Content of a regular file of at most `limit` bytes, else None."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > limit:
        return None
    return path.read_bytes()
