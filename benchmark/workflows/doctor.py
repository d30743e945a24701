"""Check the requirements of a study before it runs, and suggest fixes."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from benchmark.config.study import StudySettings
from benchmark.runs.root import cache_folder, open_store, tracking_uri
from benchmark.runs.run_folder import study_folders
from clothclf.errors import UserError, first_line
from clothclf.memory import available_memory_bytes
from clothclf.process.command import code_command

State = Literal["ok", "warning", "error"]
DISTRIBUTION = "bench-architectures"
IMPORT_TIMEOUT_S = 180
DAMAGED_FILE = "a result file is damaged"
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
error = hub_error("the model hub") if True in needed.values() else None
print(json.dumps([needed, error]))
"""
TOGETHER = """
import contextlib, io, json, sys
for code, *arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, {})
    print(json.dumps(out.getvalue()), flush=True)
"""
"""Runs several pieces of code and prints the output of each as JSON, up to the first that fails."""


@dataclass(frozen=True)
class CheckResult:
    """Result of one check."""

    check: str
    state: State
    result: str
    remedy: str = ""
    """Suggested fix; may be empty if the state is `ok`."""


def run_checks(study: StudySettings) -> list[CheckResult]:
    """Run all checks; an exception in a check becomes an error."""
    interpreter = _Interpreter(study)
    checks: dict[str, Callable[[StudySettings], CheckResult]] = {
        "packages": _packages,
        "torch": functools.partial(_imports, interpreter=interpreter),
        "device": functools.partial(_device, interpreter=interpreter),
        "memory": _memory,
        "folder": _folder,
        "disk": _disk,
        "tracking": _tracking,
        "runs": _runs,
        "data": _data,
        "weights": functools.partial(_weights, interpreter=interpreter),
    }
    results = []
    for name, check in checks.items():
        try:
            result = check(study)
        except UserError as error:
            result = CheckResult(name, "error", str(error))
        except Exception as error:  # one failing check must not prevent the others
            first = first_line(error)
            result = CheckResult(name, "error", f"check failed: {first}")
        results.append(result)
    return results


def _packages(study: StudySettings) -> CheckResult:
    wrong = []
    for line in importlib.metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} does not satisfy {requirement.specifier}")
    if wrong:
        return CheckResult("packages", "error", "; ".join(wrong), f"pip install -U {DISTRIBUTION}")
    return CheckResult("packages", "ok", "all requirements are satisfied")


def _imports(study: StudySettings, interpreter: _Interpreter) -> CheckResult:
    """Import torch in a separate process, which a broken installation may crash."""
    done = interpreter.run(IMPORTS)
    if done.returncode == 0:
        version, threads = done.stdout.split()
        return CheckResult("torch", "ok", f"torch {version} with {threads} threads, timm, counters")
    remedy = "reinstall torch and torchvision in one command, so that their versions match"
    return CheckResult("torch", "error", _last_line(done), remedy)


def _device(study: StudySettings, interpreter: _Interpreter) -> CheckResult:
    done = interpreter.run(DEVICE, study.device)
    if done.returncode == 0:
        return CheckResult("device", "ok", f"{study.device}: {done.stdout.strip()}")
    return CheckResult(
        "device", "error", _last_line(done), "set device to auto or to an available device"
    )


def _memory(study: StudySettings) -> CheckResult:
    free = available_memory_bytes()
    text = f"{free / 2**30:.1f} GiB free"
    if free < MIN_FREE_BYTES:
        return CheckResult("memory", "warning", text, "close other programs; see `bench plan`")
    return CheckResult("memory", "ok", text)


def _folder(study: StudySettings) -> CheckResult:
    return CheckResult("folder", "ok", f"{open_store(study)} is writable")


def _disk(study: StudySettings) -> CheckResult:
    root = open_store(study)
    free = shutil.disk_usage(root).free
    text = f"{free / 2**30:.1f} GiB free below {root}"
    if free < MIN_FREE_BYTES:
        cached = sum(p.stat().st_size for p in cache_folder(root).rglob("*") if p.is_file())
        remedy = f"free disk space; `bench data clean` would free {cached / 2**30:.1f} GiB"
        return CheckResult("disk", "warning", text, remedy)
    return CheckResult("disk", "ok", text)


def _tracking(study: StudySettings) -> CheckResult:
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
            remedy = f"move {path} away; `bench sync` then rebuilds it from the run folders"
            return CheckResult("tracking", "error", f"{path} is damaged: {verdict}", remedy)
    from benchmark.tracking.mlflow_store import MlflowStore

    moved: list[str] = []
    store = MlflowStore(uri, study.study, root, moved.append)
    if store.uri.startswith("http"):
        from benchmark.tracking.server_check import check_server

        text, concerns = check_server(store)
        return CheckResult("tracking", "warning" if concerns else "ok", text, "; ".join(concerns))
    if moved:
        return CheckResult("tracking", "warning", "; ".join(moved), "corrected; no action needed")
    return CheckResult("tracking", "ok", f"{store.shown_uri} accepts runs")


def _runs(study: StudySettings) -> CheckResult:
    finished = failed = unfinished = 0
    damaged = []
    for folder in study_folders(open_store(study), study.study):
        if folder.verified_record() is not None:
            finished += 1
        elif folder.has_ended():
            damaged.append(f"{folder.path.name} ({folder.invalid_reason() or DAMAGED_FILE})")
        elif folder.failure() is not None:
            failed += 1
        else:
            unfinished += 1
    text = f"{finished} finished, {failed} failed, {unfinished} unfinished"
    if damaged:
        text += f", invalid: {', '.join(damaged)}"
        return CheckResult("runs", "warning", text, "`bench run --all` repeats these")
    return CheckResult("runs", "ok", text)


def _data(study: StudySettings) -> CheckResult:
    from clothclf.data.sources import list_rows, open_source

    root = open_store(study)
    chosen = list_rows(open_source(study.data, cache_folder(root)), study.data)
    labels = chosen.rows["label"].nunique()
    return CheckResult("data", "ok", f"{len(chosen.rows):,} images with {labels} labels")


def _weights(study: StudySettings, interpreter: _Interpreter) -> CheckResult:
    setting = study.model.weights
    if study.model.mode == "scratch" or setting == "none":
        return CheckResult("weights", "ok", "random, as configured")
    names = _names(study)
    if _uses_hub(study):
        return _hub_weights(setting, names, interpreter)
    path = Path(setting)
    files = {name: path / f"{name.replace(':', '.')}.safetensors" for name in names}
    missing = [name for name, file in files.items() if not file.is_file()]
    if path.is_file() or (path.is_dir() and not missing):
        return CheckResult("weights", "ok", f"{path}")
    text = (
        f"{path} has no weights for {', '.join(missing)}"
        if path.is_dir()
        else f"{path} does not exist"
    )
    remedy = "add <architecture>.safetensors, or set model.weights to none"
    return CheckResult("weights", "error", text, remedy)


def _names(study: StudySettings) -> list[str]:
    """Architectures whose weights are known before a study starts.

    Wildcards, lists and entries with their own weights are resolved then.
    """
    entries = [entry for entry in study.architectures if entry.weights is None]
    return [entry.name for entry in entries if not any(mark in entry.name for mark in "*?[@")]


def _uses_hub(study: StudySettings) -> bool:
    return study.model.mode != "scratch" and study.model.weights in ("auto", "pretrained")


def _hub_weights(setting: str, names: list[str], interpreter: _Interpreter) -> CheckResult:
    """Check which weights are in the hub's cache, and whether the others can be downloaded.

    Runs in a separate process, because it imports torch.
    """
    done = interpreter.run(WEIGHTS, *names)
    if done.returncode != 0:
        return CheckResult("weights", "error", _last_line(done), "see torch above")
    needed, error = json.loads(done.stdout)
    groups = {
        "available": [name for name in names if needed[name] is False],
        "to be downloaded from the hub": [name for name in names if needed[name]],
        "not published": [name for name in names if needed[name] is None],
    }
    parts = [f"{', '.join(some)} {what}" for what, some in groups.items() if some]
    text = f"{setting}: {'; '.join(parts) or 'resolved when a study starts'}"
    if error is None and not groups["not published"]:
        return CheckResult("weights", "ok", text)
    remedy = f"set model.weights to a folder or to none{', or HF_ENDPOINT' if error else ''}"
    text = f"{text}; {error}" if error else text
    if setting == "auto":
        return CheckResult("weights", "warning", f"{text}; these will be random", remedy)
    return CheckResult("weights", "error", text, remedy)


class _Interpreter:
    """Runs the code of all checks that import torch, in one new interpreter if none fails."""

    def __init__(self, study: StudySettings) -> None:
        """Plan the code of this study's checks, in order."""
        self._planned: list[tuple[str, ...]] = [(IMPORTS,), (DEVICE, study.device)]
        if _uses_hub(study):
            self._planned.append((WEIGHTS, *_names(study)))
        self._done: dict[tuple[str, ...], subprocess.CompletedProcess[str]] = {}

    def run(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Return the result of planned code.

        Code that follows a failure runs in another interpreter, which is not affected by it.
        """
        wanted = (code, *arguments)
        if wanted not in self._done:
            self._start(self._planned[self._planned.index(wanted) :])
        return self._done[wanted]

    def _start(self, stages: Sequence[tuple[str, ...]]) -> None:
        done = _python(TOGETHER, json.dumps(stages))
        outputs = [json.loads(line) for line in done.stdout.splitlines()]
        for stage, output in zip(stages, outputs, strict=False):
            self._done[stage] = subprocess.CompletedProcess(done.args, 0, output, "")
        if done.returncode != 0:  # at the latest while the interpreter ended
            self._done[stages[min(len(outputs), len(stages) - 1)]] = done


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
