"""Registry of executors by name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from benchmark.engine.executors.base import ExecutorModule

EXECUTORS = {
    "local": "benchmark.engine.executors.local",
    "ray": "benchmark.engine.executors.ray.executor",
}
"""Modules that implement `base.ExecutorModule`, imported on first use."""


def find_executor(name: str) -> ExecutorModule:
    """Return the module of an executor; raises KeyError for an unknown name."""
    return cast("ExecutorModule", importlib.import_module(EXECUTORS[name]))
