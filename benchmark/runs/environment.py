"""Description of the environment of a measurement: machine, libraries, commit."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

from benchmark.runs.record import Environment
from clothclf.cost.counters.registry import PACKAGES

LIBRARIES = tuple(
    dict.fromkeys(("torch", "timm", "mlflow", *PACKAGES, "pandas", "pillow", "numpy"))
)


def describe_environment(device: str, threads: int, processes: int = 1) -> Environment:
    """Describe this machine and installation; the arguments describe the run's training."""
    return Environment(
        bench=importlib.metadata.version("bench-architectures"),
        python=platform.python_version(),
        platform=platform.platform(),
        processor=processor_name(),
        device=device,
        threads=threads,
        processes=processes,
        versions={name: importlib.metadata.version(name) for name in LIBRARIES},
        git_commit=_git_commit(),
    )


def processor_name() -> str:
    """Return the model of this machine's processor; may be empty."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.processor()
    return platform.processor()


def _git_commit() -> str:
    """Return the commit of this code's checkout, with `+` if files have changed."""
    folder = Path(__file__).parent
    commit = _git(folder, "rev-parse", "HEAD")
    return f"{commit}+" if commit and _git(folder, "status", "--porcelain") else commit


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
