"""Child processes that build and measure variants."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from benchmark.errors import DeployError
from clothclf.cost.count import Doing, describe_death
from clothclf.process.command import module_command
from clothclf.process.start import run_module

BUILD = "benchmark.deploy.build_child"
MEASURE = "benchmark.deploy.measure_child"
BUILD_TIMEOUT_S = 3600
MEASURE_TIMEOUT_S = 3600
NO_GPU = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
SIGILL = -4


def build_in_child(question: Mapping[str, Any]) -> Any:
    """Build files in a process that has imported torch; raises DeployError."""
    environment = {**os.environ, **NO_GPU}
    text = json.dumps(question)
    try:
        child = run_module(BUILD, stdin=text, environment=environment, timeout_s=BUILD_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise DeployError(f"building took longer than {BUILD_TIMEOUT_S} seconds") from None
    return _answer(child.returncode, child.stdout, child.stderr, "building")


def measure_in_child(question: Mapping[str, Any], threads: int) -> Any:
    """Measure in a new interpreter, so that its memory is the runtime's own; raises DeployError."""
    environment = {**os.environ, **NO_GPU, "OMP_NUM_THREADS": str(threads)}
    try:
        child = subprocess.run(
            module_command(MEASURE),
            input=json.dumps(question),
            env=environment,
            capture_output=True,
            text=True,
            timeout=MEASURE_TIMEOUT_S,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeployError(f"measuring took longer than {MEASURE_TIMEOUT_S} seconds") from None
    return _answer(child.returncode, child.stdout, child.stderr, "measuring")


def _answer(code: int, out: str, log: str, doing: Doing) -> Any:
    try:
        answer = json.loads(out)
    except ValueError:
        why = describe_death(code, log, doing)
        if code == SIGILL:
            why += "; the processor lacks an instruction that the runtime uses"
        raise DeployError(why) from None
    if "error" in answer:
        raise DeployError(answer["error"])
    return answer["answer"]
