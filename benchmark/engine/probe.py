"""Probe a run in a separate process before it starts.

The first probe decides `precision: auto` permanently. Times are reused while they are reliable.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import TypeAdapter

from benchmark.engine.process import run_environment
from benchmark.runs.spec import RunSpec
from benchmark.text.numbers import duration
from clothclf.data.atomic import json_sha256, write_text
from clothclf.errors import TrainingError
from clothclf.process.start import ChildError, request_result
from clothclf.results import Probe
from clothclf.settings import Precision

PROBE: TypeAdapter[Probe] = TypeAdapter(Probe)
CHILD = "benchmark.engine.probe_child"
MAX_AGE_S = 24 * 3600.0
"""Maximum age in seconds of times that are reused."""
MAX_SPREAD = 0.5
"""Maximum relative spread of step times that are reused; more indicates an uneven load."""
WORTHWHILE = 1.15
"""Minimum speedup for choosing bfloat16 over float32, because it is less accurate."""
NAMED_FIELDS = (
    *("route", "times", "views", "features", "steps_per_epoch", "startup_s"),
    "peak_memory_bytes",
)
"""Fields in the cache key. Later fields have defaults instead, so that old probes stay valid."""


def probe(spec: RunSpec, timeout_s: float = 600) -> Probe:
    """Return the first probe of such a run on this machine, or time some steps of it.

    The first probe never expires, because it decides the precision, and so the identity, of runs.
    Raises TrainingError with a one-line message if the run cannot start.
    """
    return cached_probe(spec) or _run_and_cache(spec, timeout_s)


def cached_probe(spec: RunSpec) -> Probe | None:
    """Return the first probe of such a run on this machine, or None if there is none."""
    return _read(_first(spec))


def time_run(
    spec: RunSpec, notify: Callable[[str], None], timeout_s: float = 600, busy: str = ""
) -> Probe:
    """Time some steps of a run, or return earlier times if they are reliable.

    `busy` describes the current load by other processes (`busy_now`). A run is timed again if its
    times are older than MAX_AGE_S, spread more than MAX_SPREAD, or if the machine was busy then or
    is now. `notify` gets a message about a new probe, or the age of a reused one. Raises
    TrainingError with a one-line message if the run cannot start.
    """
    if not busy:
        for file in (_latest(spec), _first(spec)):
            cached = _read(file)
            if cached is None or cached.busy or cached.spread > MAX_SPREAD:
                continue
            age_s = time.time() - file.stat().st_mtime
            if age_s <= MAX_AGE_S:
                notify(f"{spec.name}: using the probe of {duration(max(0.0, age_s))} ago")
                return cached
    notify(f"probing {spec.name}")
    return _run_and_cache(spec, timeout_s)


def with_precision(spec: RunSpec, notify: Callable[[str], None], may_probe: bool = True) -> RunSpec:
    """Return the run with the precision of the study or, for `auto`, of its probe.

    Without `may_probe`, a run without a cached probe is returned unchanged.
    """
    if spec.model.precision != "auto" or not (may_probe or cached_probe(spec)):
        return spec
    try:
        result = probe(spec)
    except TrainingError as error:
        notify(f"{spec.name}: using float32 because the probe failed: {error}")
        return spec
    chosen = faster_precision(result)
    return spec.model_copy(update={"precision": chosen})


def faster_precision(probe_: Probe) -> Precision:
    """Return bfloat16 if it is clearly faster, else float32."""
    if "bfloat16" not in probe_.times:
        return "float32"
    exact, narrow = probe_.times["float32"], probe_.times["bfloat16"]
    if probe_.route == "features":
        gain = exact.forward_s / narrow.forward_s
    else:
        gain = exact.step_s / narrow.step_s
    return "bfloat16" if gain >= WORTHWHILE else "float32"


def _run_and_cache(spec: RunSpec, timeout_s: float) -> Probe:
    result = run_probe(spec, timeout_s)
    values = PROBE.dump_python(result, mode="json")
    text = json.dumps({"check": json_sha256(values), **values}, indent=1) + "\n"
    for file in (_latest(spec), *(() if cached_probe(spec) else (_first(spec),))):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    return result


def _read(file: Path) -> Probe | None:
    """Read a cached probe, or None if invalid; old files without a checksum are accepted."""
    try:
        values = json.loads(file.read_bytes())
        check = values.pop("check", None)
        if check not in (None, json_sha256(values)):
            return None
        if values["route"] == "pictures":  # its former name
            values["route"] = "images"
        return PROBE.validate_python(values)
    except (OSError, ValueError, TypeError, AttributeError):  # also for JSON of another structure
        return None


def _first(spec: RunSpec) -> Path:
    return spec.cache / "probes" / f"{_key(spec)}.json"


def _latest(spec: RunSpec) -> Path:
    return spec.cache / "probes" / "times" / f"{_key(spec)}.json"


def run_probe(spec: RunSpec, timeout_s: float) -> Probe:
    """Probe without using or writing the cache; raises TrainingError as `probe` does."""
    request = {"spec": spec.model_dump(mode="json"), "asked_at": time.time()}
    try:
        response = request_result(
            CHILD, request, "probing", environment=run_environment(), timeout_s=timeout_s
        )
    except ChildError as error:
        raise TrainingError(str(error)) from None
    return PROBE.validate_python(response["probe"])


def _key(spec: RunSpec) -> str:
    """Return the cache key: a hash of network, recipe, number of images and machine."""
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
        "fields": list(NAMED_FIELDS),
    }
    if spec.source_sha256:
        parts["source"] = spec.source_sha256
    return json_sha256(parts)[:16]
