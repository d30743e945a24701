"""Drive the real scheduler and a real MLflow on PostgreSQL with thousands of simulated runs.

    python -m tests.cluster.simulate --runs 10000 --workers 200

It reports how many runs a second are logged, how long logging takes for each, how much memory the
driver has meanwhile, and how long `bench report` takes on the store. Nothing is trained: the runs
are copies of one real run, epoch by epoch and file by file; `--like FOLDER` names another to copy.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmark.config.study import StudySettings, to_yaml
from benchmark.engine.scheduler import Policy, run_plan
from benchmark.runs.events import Event
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from benchmark.tracking.mlflow_store import MlflowStore
from benchmark.tracking.tracker import Tracker
from clothclf.data.atomic import write_text
from tests.benchmark.conftest import environment, run_bench
from tests.cluster.engines import SharedStore
from tests.cluster.simulated import Likeness, SimulatedExecutor, made_here

STUDY = "simulated"


class Watched:
    """The tracker, timed: seconds that it takes of each run, from its start to its end."""

    def __init__(self, tracker: Tracker, every: int) -> None:
        """Memory is looked at whenever `every` more runs are logged."""
        self._tracker = tracker
        self._every = every
        self._spent: dict[str, float] = defaultdict(float)
        self.logged_s: list[float] = []
        self.memory: list[tuple[int, float]] = []
        self.ticking_s = 0.0

    def _timed(self, run_id: str, call: Callable[[], None]) -> None:
        began = time.monotonic()
        call()
        self._spent[run_id] += time.monotonic() - began

    def on_started(self, folder: RunFolder, spec: RunSpec, resumed: bool) -> None:
        """Timed."""
        self._timed(spec.run_id, lambda: self._tracker.on_started(folder, spec, resumed))

    def on_event(self, spec: RunSpec, event: Event) -> None:
        """Timed."""
        self._timed(spec.run_id, lambda: self._tracker.on_event(spec, event))

    def on_finished(self, folder: RunFolder, record: RunRecord) -> None:
        """Timed, and the run's sum is kept."""
        self._timed(record.run_id, lambda: self._tracker.on_finished(folder, record))
        self.logged_s.append(self._spent.pop(record.run_id))
        if len(self.logged_s) % self._every == 0:
            mib = psutil.Process().memory_info().rss / 2**20
            self.memory.append((len(self.logged_s), mib))
            print(f"{len(self.logged_s):,} runs logged, driver {mib:.0f} MiB", flush=True)

    def on_tick(self) -> None:
        """Heartbeats and samples of the machine."""
        began = time.monotonic()
        self._tracker.on_tick()
        self.ticking_s += time.monotonic() - began

    def on_skipped(self, folder: RunFolder, record: RunRecord) -> None:
        """Passed on."""
        self._tracker.on_skipped(folder, record)

    def on_failed_before(self, folder: RunFolder, failure: Failure) -> None:
        """Passed on."""
        self._tracker.on_failed_before(folder, failure)

    def on_elsewhere(self, folder: RunFolder, spec: RunSpec) -> None:
        """Passed on."""

    def on_failed(self, folder: RunFolder, failure: Failure) -> None:
        """None is to fail."""
        raise SystemExit(f"{folder.path}: {failure.reason}")

    def on_interrupted(self, folder: RunFolder, spec: RunSpec) -> None:
        """Passed on."""
        self._tracker.on_interrupted(folder, spec)


def simulate(options: argparse.Namespace, folder: Path, store: SharedStore) -> dict[str, Any]:
    """Carry it out in `folder`; return what was measured, units in the names."""
    likeness = Likeness(RunFolder(options.like) if options.like else made_here(folder))
    plan = likeness.plan(options.runs, STUDY)
    study = _study_of(likeness)
    root = folder / "mlruns"
    (folder / "simulated.yaml").write_text(to_yaml(study))
    os.environ.update(store.environment())
    warnings: list[str] = []
    watched = Watched(
        Tracker(MlflowStore(store.uri, STUDY, root), warnings.append),
        max(1, options.runs // 10),
    )
    executor = SimulatedExecutor(likeness, options.workers, options.seconds)
    config = to_yaml(study)
    calls = _count_calls()
    empty = _database_bytes(store)
    began, busy = time.monotonic(), _busy(store)
    run_plan(
        plan,
        root,
        lambda run, spec: write_text(run.path / "config.yaml", config),
        [watched],
        Policy(executor=executor),
    )
    took = time.monotonic() - began
    executor.close()
    result = {
        "runs": options.runs,
        "workers": options.workers,
        "bytes_of_a_run": likeness.bytes,
        "epochs_of_a_run": len(likeness.record.training.epochs),
        "seconds": round(took, 1),
        "runs_per_second": round(options.runs / took, 2),
        "logging_ms_median": round(1000 * statistics.median(watched.logged_s), 1),
        "logging_ms_p95": round(1000 * statistics.quantiles(watched.logged_s, n=20)[-1], 1),
        "calls_per_run": round(calls[0] / options.runs, 1),
        "ticking_share": round(watched.ticking_s / took, 3),
        "cpu_ms_per_run": {
            name: round(1000 * (seconds - busy[name]) / options.runs, 1)
            for name, seconds in _busy(store).items()
        },
        "driver_mib_by_runs": {count: round(mib) for count, mib in watched.memory},
        "open_files_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "warnings": warnings,
    }
    result |= _in_database(store)
    result["database_bytes_per_run"] = round((_database_bytes(store) - empty) / options.runs)
    began = time.monotonic()
    done = run_bench(folder, "report", "-c", "simulated.yaml", "-o", "report.md", timeout_s=900)
    result["report_s"] = round(time.monotonic() - began, 1)
    if done.code:
        raise SystemExit(done.err)
    began = time.monotonic()
    variables = {**environment(), **store.environment()}
    done = run_bench(folder, "sync", "-c", "simulated.yaml", timeout_s=3600, variables=variables)
    if done.out.strip() != f"0 runs logged, {options.runs} already logged":
        raise SystemExit(done.out + done.err)
    result["sync_that_logs_nothing_s"] = round(time.monotonic() - began, 1)
    return result


def _study_of(likeness: Likeness) -> StudySettings:
    spec = likeness.record.spec
    return StudySettings.model_validate(
        {
            "study": STUDY,
            "data": spec.data,
            "architectures": [{"name": "test_resnet"}],
            "model": spec.model,
            "train": spec.train,
            "device": spec.device,
        }
    )


def _busy(store: SharedStore) -> dict[str, float]:
    """Seconds of processor time so far: a figure that other work on the machine leaves alone."""
    result = {"driver": time.process_time()}
    for name, server in (("server", store.tracking), ("database", store.database)):
        assert server.process is not None
        parent = psutil.Process(server.process.pid)
        # Of those that are there, and of those that have ended.
        times = [each.cpu_times() for each in (parent, *parent.children(recursive=True))]
        result[name] = sum(t.user + t.system + t.children_user + t.children_system for t in times)
    return result


def _count_calls() -> list[int]:
    """Count the HTTP requests that this process sends from now on."""
    import requests

    sent = [0]
    send = requests.Session.send

    def counted(self: requests.Session, *given: Any, **named: Any) -> Any:
        sent[0] += 1
        return send(self, *given, **named)

    requests.Session.send = counted  # type: ignore[method-assign]
    return sent


def _in_database(store: SharedStore) -> dict[str, Any]:
    """That each run is there once, and what a run takes in PostgreSQL."""
    tables = ("runs", "params", "tags", "metrics", "latest_metrics", "inputs", "input_tags")
    query = store.database.query
    rows = {table: query(f"SELECT count(*) FROM {table}")[0][0] for table in tables}  # noqa: S608
    ((ids, all_of_them),) = store.database.query(
        "SELECT count(DISTINCT t.value), count(*) FROM tags t JOIN runs r USING (run_uuid) "
        "WHERE t.key = 'bench.run_id' AND r.lifecycle_stage = 'active' AND r.status = 'FINISHED'"
    )
    return {"rows": rows, "run_ids": ids, "mlflow_runs": all_of_them}


def _database_bytes(store: SharedStore) -> int:
    ((size,),) = store.database.query("SELECT pg_database_size('mlflow')")
    return int(size)


def main() -> None:
    """Parse, carry out, print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0, help="that a run takes, about")
    parser.add_argument("--like", type=Path, help="folder of a finished run to copy")
    parser.add_argument("--keep", type=Path, help="an empty folder for all of it, that stays")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="bench-simulation-") as created:
        folder = options.keep or Path(created)
        folder.mkdir(parents=True, exist_ok=True)
        store = SharedStore(folder, objects_in=folder / "artifacts")
        try:
            json.dump(simulate(options, folder, store), sys.stdout, indent=1)
        finally:
            store.stop()


if __name__ == "__main__":
    main()
