"""bench: the harness that runs, tracks and reports studies of image architectures.

The names in `__all__` are the public interface; docs/python-api.md shows how to use them. All other
names are private and may change.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.config.study import StudySettings, load_study
    from benchmark.inference.predict import FilePrediction, predict
    from benchmark.report.write import Report, read_report
    from benchmark.workflows.run_study import run_study

__all__ = [
    "FilePrediction",
    "Report",
    "StudySettings",
    "load_study",
    "predict",
    "read_report",
    "run_study",
]

_MODULES = {
    "FilePrediction": "benchmark.inference.predict",
    "Report": "benchmark.report.write",
    "StudySettings": "benchmark.config.study",
    "load_study": "benchmark.config.study",
    "predict": "benchmark.inference.predict",
    "read_report": "benchmark.report.write",
    "run_study": "benchmark.workflows.run_study",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use: `bench --help` needs none of them."""
    if name == "Predicted":
        warnings.warn(
            "Predicted is deprecated; use FilePrediction", DeprecationWarning, stacklevel=2
        )
        name = "FilePrediction"
    if name not in _MODULES:
        raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
