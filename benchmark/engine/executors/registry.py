"""Registry of executors. Does not import them.

To add an executor, write a module that implements `base.ExecutorModule`, and add one entry to
`EXECUTORS`. The options of `bench run`, their help and the errors that name executors then have it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from benchmark.engine.executors.base import ExecutorModule


@dataclass(frozen=True)
class ExecutorEntry:
    """One executor."""

    name: str
    """Value of `--executor`."""
    module: str
    """Module that implements `base.ExecutorModule`, imported on first use."""
    title: str
    """Where it executes runs, for the help."""
    address: str = ""
    """What its `--address` is, for the help; empty if it takes none."""
    shares: bool = False
    """Whether runs get a share of a machine: `--cpus-per-run`, and fractions of GPUs."""


EXECUTORS = {
    entry.name: entry
    for entry in (
        ExecutorEntry("local", "benchmark.engine.executors.local", "this machine"),
        ExecutorEntry(
            "ray",
            "benchmark.engine.executors.ray.executor",
            "a Ray cluster",
            "Ray cluster, HOST:PORT or auto  [default: RAY_ADDRESS, else a new local cluster]",
            shares=True,
        ),
    )
}


def find_executor(name: str) -> ExecutorModule:
    """Return the module of an executor; raises KeyError for an unknown name."""
    return cast("ExecutorModule", importlib.import_module(EXECUTORS[name].module))


def executors_with(has: Callable[[ExecutorEntry], object]) -> str:
    """Return the option for executors that have something: `--executor ray`."""
    return f"--executor {any_of([entry.name for entry in EXECUTORS.values() if has(entry)])}"


def any_of(names: list[str]) -> str:
    """Join alternatives: `a, b or c`."""
    return " or ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
