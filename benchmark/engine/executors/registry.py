"""Executors by name: one line each."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from benchmark.engine.executors.base import ExecutorModule

EXECUTORS = {
    "local": "benchmark.engine.executors.local",
    "ray": "benchmark.engine.executors.ray.executor",
}
"""Modules that provide what `base.ExecutorModule` describes; imported when they are used."""


def find_executor(name: str) -> ExecutorModule:
    """The module of an executor; raises KeyError for an unknown name."""
    return cast("ExecutorModule", importlib.import_module(EXECUTORS[name]))
