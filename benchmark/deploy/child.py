"""Child processes that build and measure variants."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from benchmark.errors import DeployError
from clothclf.process.command import module_command
from clothclf.process.start import ChildError, Completed, read_response, request_result

BUILD = "benchmark.deploy.build_variant_child"
MEASURE = "benchmark.deploy.measure_variant_child"
BUILD_TIMEOUT_S = 3600
MEASURE_TIMEOUT_S = 3600
NO_GPU = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}


def build_in_child(request: Mapping[str, Any]) -> Any:
    """Build files in a process that has imported torch; raises DeployError."""
    environment = {**os.environ, **NO_GPU}
    try:
        return request_result(
            BUILD, request, "building", environment=environment, timeout_s=BUILD_TIMEOUT_S
        )["result"]
    except ChildError as error:
        raise DeployError(str(error)) from None


def measure_in_child(request: Mapping[str, Any], threads: int) -> Any:
    """Measure in a new interpreter, so that its memory is the runtime's own; raises DeployError."""
    environment = {**os.environ, **NO_GPU, "OMP_NUM_THREADS": str(threads)}
    try:
        child = subprocess.run(
            module_command(MEASURE),
            input=json.dumps(request),
            env=environment,
            capture_output=True,
            text=True,
            timeout=MEASURE_TIMEOUT_S,
            start_new_session=True,
            check=False,
        )
        ended = Completed(child.returncode, child.stdout, child.stderr)
        return read_response(ended, "measuring")["result"]
    except subprocess.TimeoutExpired:
        raise DeployError(f"measuring took longer than {MEASURE_TIMEOUT_S} seconds") from None
    except ChildError as error:
        raise DeployError(str(error)) from None
