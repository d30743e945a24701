"""Probe a run in a process of its own before it is begun; what was found is kept and reused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable

from pydantic import TypeAdapter, ValidationError

from benchmark.plan import RunSpec
from benchmark.runner.process import run_environment
from clothclf.data.atomic import write_text
from clothclf.errors import TrainingError
from clothclf.orphans import module_command
from clothclf.results import Probe
from clothclf.settings import Precision

PROBE: TypeAdapter[Probe] = TypeAdapter(Probe)
CHILD = "benchmark.runner.probe_child"
WORTHWHILE = 1.15
"""bfloat16 must be so many times as fast as float32 to be chosen: its figures are less exact."""


def probe(spec: RunSpec, timeout_s: float = 600) -> Probe:
    """Time some steps of a run, or read what an earlier probe of such a run on this machine found.

    Raises TrainingError, with one sentence, where the run cannot be begun.
    """
    file = spec.cache / "probes" / f"{_key(spec)}.json"
    try:
        return PROBE.validate_json(file.read_bytes())
    except (OSError, ValidationError):
        found = _ask(spec, timeout_s)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, PROBE.dump_json(found, indent=1).decode() + "\n")
    return found


def with_precision(spec: RunSpec, tell: Callable[[str], None]) -> RunSpec:
    """The run in the precision that the study names or, for `auto`, its probe found faster."""
    if spec.model.precision != "auto":
        return spec
    try:
        found = probe(spec)
    except TrainingError as error:
        tell(f"{spec.name}: float32, since the probe failed: {error}")
        return spec
    chosen = faster_precision(found)
    return spec.model_copy(update={"precision": chosen})


def faster_precision(found: Probe) -> Precision:
    """bfloat16 where it is clearly faster, else float32."""
    if "bfloat16" not in found.times:
        return "float32"
    exact, narrow = found.times["float32"], found.times["bfloat16"]
    if found.route == "features":
        gain = exact.forward_s / narrow.forward_s
    else:
        gain = exact.step_s / narrow.step_s
    return "bfloat16" if gain >= WORTHWHILE else "float32"


def _ask(spec: RunSpec, timeout_s: float) -> Probe:
    try:
        child = subprocess.run(
            module_command(CHILD),
            input=json.dumps({"spec": spec.model_dump(mode="json"), "asked_at": time.time()}),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=run_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TrainingError(f"{spec.name}: some steps took over {timeout_s:g} seconds") from None
    try:
        answer = json.loads(child.stdout)
    except ValueError:
        last = (child.stderr.strip().splitlines() or ["it left no message"])[-1]
        told = f"the probing process ended with code {child.returncode}: {last}"
        raise TrainingError(f"{spec.name}: {told}") from None
    if "error" in answer:
        raise TrainingError(answer["error"])
    return PROBE.validate_python(answer["probe"])


def _key(spec: RunSpec) -> str:
    """What the times depend on: the network, the recipe, the number of pictures, the machine."""
    parts = {
        "architecture": spec.architecture,
        "head": spec.head.model_dump(),
        "classes": len(spec.data_summary.classes),
        "images": spec.data_summary.images,
        "image_size": spec.image_size,
        "model": spec.model.model_dump(exclude={"weights", "head"}),
        "train": spec.train.model_dump(mode="json"),
        "device": spec.device,
        "machine": [platform.node(), platform.machine(), os.cpu_count()],
        "fields": [field.name for field in dataclasses.fields(Probe)],
    }
    if spec.source_sha256:
        parts["source"] = spec.source_sha256
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
