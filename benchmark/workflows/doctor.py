"""Check the requirements of a study before it runs, and suggest fixes."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from benchmark.config.study import StudySettings
from benchmark.runs.folder import study_folders
from benchmark.runs.root import cache_folder, open_store, tracking_uri
from clothclf.errors import UserError, first_line
from clothclf.memory import available_memory_bytes
from clothclf.orphans import code_command

State = Literal["ok", "warning", "fault"]
DISTRIBUTION = "bench-architectures"
IMPORT_TIMEOUT_S = 180
DAMAGED_FILE = "a file beside its record is damaged"
MIN_FREE_BYTES = 2 * 2**30
"""Free disk space and memory in bytes below which a typical study may fail."""
IMPORTS = """
import torch, torchvision
torch.ops.torchvision.nms
import timm
from clothclf.cost.counters.registry import COUNTERS
for counter in COUNTERS.values():
    counter.load()
print(torch.__version__, torch.get_num_threads())
"""
DEVICE = """
import sys
from clothclf.device import select_device, device_name
try:
    device = select_device(sys.argv[1])
except Exception as error:
    sys.exit(str(error))
print(device_name(device))
"""
WEIGHTS = """
import json, sys
from clothclf.models.weights import needs_hub
from clothclf.connectivity import hub_error
needed = {name: needs_hub(name) for name in sys.argv[1:]}
fault = hub_error("the model hub") if True in needed.values() else None
print(json.dumps([needed, fault]))
"""


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    what: str
    state: State
    found: str
    remedy: str = ""
    """Suggested fix; may be empty if the state is `ok`."""


def examine(study: StudySettings) -> list[Finding]:
    """Run all checks; an exception in a check becomes a finding."""
    looks: dict[str, Callable[[StudySettings], Finding]] = {
        "packages": _packages,
        "torch": _imports,
        "device": _device,
        "memory": _memory,
        "folder": _folder,
        "disk": _disk,
        "tracking": _tracking,
        "runs": _runs,
        "data": _data,
        "weights": _weights,
    }
    findings = []
    for what, look in looks.items():
        try:
            found = look(study)
        except UserError as error:
            found = Finding(what, "fault", str(error))
        except Exception as error:  # one failing check must not prevent the others
            first = first_line(error)
            found = Finding(what, "fault", f"could not be examined: {first}")
        findings.append(found)
    return findings


def _packages(study: StudySettings) -> Finding:
    wrong = []
    for line in importlib.metadata.requires(DISTRIBUTION) or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is not installed")
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            wrong.append(f"{wanted.name} is {version}, not {wanted.specifier}")
    if wrong:
        return Finding("packages", "fault", "; ".join(wrong), f"pip install -U {DISTRIBUTION}")
    return Finding("packages", "ok", "all that is required, in versions that fit")


def _imports(study: StudySettings) -> Finding:
    """Import torch in a separate process, which a broken installation may crash."""
    done = _python(IMPORTS)
    if done.returncode == 0:
        version, threads = done.stdout.split()
        return Finding("torch", "ok", f"torch {version} with {threads} threads, timm, counters")
    remedy = "install torch and torchvision anew in one command, so that they fit each other"
    return Finding("torch", "fault", _last_line(done), remedy)


def _device(study: StudySettings) -> Finding:
    done = _python(DEVICE, study.device)
    if done.returncode == 0:
        return Finding("device", "ok", f"{study.device}: {done.stdout.strip()}")
    return Finding("device", "fault", _last_line(done), "set device: auto, or another")


def _memory(study: StudySettings) -> Finding:
    free = available_memory_bytes()
    found = f"{free / 2**30:.1f} GiB free"
    if free < MIN_FREE_BYTES:
        return Finding("memory", "warning", found, "close other programs; see `bench plan`")
    return Finding("memory", "ok", found)


def _folder(study: StudySettings) -> Finding:
    return Finding("folder", "ok", f"{open_store(study)} can be written")


def _disk(study: StudySettings) -> Finding:
    root = open_store(study)
    free = shutil.disk_usage(root).free
    found = f"{free / 2**30:.1f} GiB free below {root}"
    if free < MIN_FREE_BYTES:
        kept = sum(p.stat().st_size for p in cache_folder(root).rglob("*") if p.is_file())
        remedy = f"make room; `bench data clean` would free {kept / 2**30:.1f} GiB"
        return Finding("disk", "warning", found, remedy)
    return Finding("disk", "ok", found)


def _tracking(study: StudySettings) -> Finding:
    root = open_store(study)
    uri = tracking_uri(study)
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and path.exists():
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            try:
                (verdict,) = database.execute("PRAGMA quick_check").fetchone()
            except sqlite3.DatabaseError as error:
                verdict = str(error)
        if verdict != "ok":
            remedy = f"move {path} away, then `bench sync` rebuilds it from the run folders"
            return Finding("tracking", "fault", f"{path} is damaged: {verdict}", remedy)
    from benchmark.tracking.mlflow_store import MlflowStore

    moved: list[str] = []
    store = MlflowStore(uri, study.study, root, moved.append)
    if store.uri.startswith("http"):
        from benchmark.tracking.server_check import look_at_server

        found, concerns = look_at_server(store)
        return Finding("tracking", "warning" if concerns else "ok", found, "; ".join(concerns))
    if moved:
        return Finding("tracking", "warning", "; ".join(moved), "corrected, nothing more to do")
    return Finding("tracking", "ok", f"{store.shown_uri} takes runs")


def _runs(study: StudySettings) -> Finding:
    finished = failed = unfinished = 0
    damaged = []
    for folder in study_folders(open_store(study), study.study):
        if folder.verified_record() is not None:
            finished += 1
        elif folder.has_ended():
            damaged.append(f"{folder.path.name} ({folder.why_not_believed() or DAMAGED_FILE})")
        elif folder.failure() is not None:
            failed += 1
        else:
            unfinished += 1
    found = f"{finished} finished, {failed} failed, {unfinished} unfinished"
    if damaged:
        found += f", not believed: {', '.join(damaged)}"
        return Finding("runs", "warning", found, "`bench run --all` does these again")
    return Finding("runs", "ok", found)


def _data(study: StudySettings) -> Finding:
    from clothclf.data.sources import list_wanted, open_source

    root = open_store(study)
    chosen = list_wanted(open_source(study.data, cache_folder(root)), study.data)
    labels = chosen.rows["label"].nunique()
    return Finding("data", "ok", f"{len(chosen.rows):,} images with {labels} labels are listed")


def _weights(study: StudySettings) -> Finding:
    setting = study.model.weights
    if study.model.mode == "scratch" or setting == "none":
        return Finding("weights", "ok", "random, as asked")
    # Wildcards, lists and entries with their own weights are resolved when a study starts.
    entries = [entry for entry in study.architectures if entry.weights is None]
    names = [entry.name for entry in entries if not any(mark in entry.name for mark in "*?[@")]
    if setting in ("auto", "pretrained"):
        return _hub_weights(setting, names)
    path = Path(setting)
    files = {name: path / f"{name.replace(':', '.')}.safetensors" for name in names}
    missing = [name for name, file in files.items() if not file.is_file()]
    if path.is_file() or (path.is_dir() and not missing):
        return Finding("weights", "ok", f"{path}")
    found = f"{path} has none for {', '.join(missing)}" if path.is_dir() else f"no {path}"
    remedy = "put <architecture>.safetensors there, or set model.weights to none"
    return Finding("weights", "fault", found, remedy)


def _hub_weights(setting: str, names: list[str]) -> Finding:
    """Check which weights are in the hub's cache, and whether the others can be downloaded.

    Runs in a separate process, because it imports torch.
    """
    done = _python(WEIGHTS, *names)
    if done.returncode != 0:
        return Finding("weights", "fault", _last_line(done), "see torch above")
    needed, fault = json.loads(done.stdout)
    groups = {
        "at hand": [name for name in names if needed[name] is False],
        "to be fetched from the hub": [name for name in names if needed[name]],
        "not published": [name for name in names if needed[name] is None],
    }
    parts = [f"{', '.join(some)} {what}" for what, some in groups.items() if some]
    found = f"{setting}: {'; '.join(parts) or 'looked for when a study begins'}"
    if fault is None and not groups["not published"]:
        return Finding("weights", "ok", found)
    remedy = f"set model.weights to a folder or to none{', or HF_ENDPOINT' if fault else ''}"
    found = f"{found}; {fault}" if fault else found
    if setting == "auto":
        return Finding("weights", "warning", f"{found}; those will be random", remedy)
    return Finding("weights", "fault", found, remedy)


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        code_command(code, *arguments),
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=IMPORT_TIMEOUT_S,
        check=False,
    )


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"the process ended with code {done.returncode}"
