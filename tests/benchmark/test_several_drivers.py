"""Several drivers, or several attempts, log the same run: what the store shows in the end."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmark.runs import run_folder as files
from benchmark.runs.record import Failure
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from benchmark.tracking import attempts, report_artifacts
from benchmark.tracking import heartbeat as life
from benchmark.tracking.mlflow_store import MlflowStore
from benchmark.tracking.run_fields import KIND_TAG, REPORT_KIND
from tests.benchmark.examples import make_record, make_spec


@pytest.fixture
def store(tmp_path: Path) -> MlflowStore:
    return opened(tmp_path)


@pytest.fixture
def another(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """Another process, which lives until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def opened(folder: Path) -> MlflowStore:
    return MlflowStore(f"sqlite:///{folder}/m.db", "s", folder)


def spec_of_all() -> RunSpec:
    return make_spec("resnet18", study="s")


def finished(root: Path) -> RunFolder:
    """The folder of a run that has its record."""
    spec = spec_of_all()
    folder = RunFolder.of(root, spec)
    folder.start(spec)
    (folder.path / files.MODEL).write_bytes(b"parameters")
    record = make_record(spec, 0.5).model_copy(update={"files": folder.hashes()})
    folder.write(files.RECORD, record)
    return folder


def failed(root: Path) -> RunFolder:
    spec = spec_of_all()
    folder = RunFolder.of(root, spec)
    folder.start(spec)
    result = Failure(
        run_id=spec.run_id, spec=spec, stage="train", reason="why", log_tail="", at="2024"
    )
    folder.write(files.FAILURE, result)
    return folder


def begin_as(process: subprocess.Popen[bytes], store: MlflowStore) -> str:
    """Open the run's MLflow run as another process would; return its id."""
    store.start(spec_of_all())
    mlflow_id = store._open.pop(spec_of_all().run_id).mlflow_id
    store.client.set_tag(mlflow_id, life.PROCESS_TAG, life._process(process.pid))
    return mlflow_id


def shown(store: MlflowStore) -> list[Any]:
    return list(store.client.search_runs([store.experiment_id]))


def states(store: MlflowStore) -> list[str]:
    return sorted(run.info.status for run in shown(store))


def test_a_run_that_another_process_writes_to_is_left_alone(
    store: MlflowStore, another: subprocess.Popen[bytes]
) -> None:
    """Both are shown while both run."""
    theirs = begin_as(another, store)
    store.start(spec_of_all())
    assert states(store) == ["RUNNING", "RUNNING"]
    store.client.log_metric(theirs, "valid/loss", 1.0)  # it can still be written to


def test_of_two_drivers_that_finish_the_same_run_one_is_shown(
    store: MlflowStore, another: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """The last, with each epoch once."""
    theirs = begin_as(another, store)
    store.start(spec_of_all())
    assert store.log_result(finished(tmp_path))
    assert states(store) == ["FINISHED", "RUNNING"]
    store.client.set_terminated(theirs, "FINISHED")
    store._settle(store._find(spec_of_all().run_id))  # as the other driver does then
    (run,) = shown(store)
    assert (run.info.run_id, run.info.status) == (theirs, "FINISHED")


def test_nothing_finished_is_deleted_before_another_is(store: MlflowStore, tmp_path: Path) -> None:
    """A run that is done again, or by another driver, may be killed on the way."""
    folder = finished(tmp_path)
    assert store.log_result(folder)
    (first,) = shown(store)
    store.start(spec_of_all())
    assert states(store) == ["FINISHED", "RUNNING"]
    assert store.log_result(folder)
    (last,) = shown(store)
    assert last.info.run_id != first.info.run_id


def test_a_dead_process_leaves_nothing_beside_what_is_finished(
    store: MlflowStore, another: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    begin_as(another, store)
    store.start(spec_of_all())
    store.log_result(finished(tmp_path))
    another.kill()
    another.wait()
    assert states(opened(tmp_path)) == ["FINISHED"]


def test_of_two_dead_drivers_of_a_run_one_attempt_is_left(
    store: MlflowStore, another: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """Both were killed in the middle of the same run, as when a machine goes down."""
    begin_as(another, store)
    begin_as(another, store)
    assert states(store) == ["RUNNING", "RUNNING"]
    another.kill()
    another.wait()
    assert states(opened(tmp_path)) == ["KILLED"]


def test_a_finished_run_goes_before_a_failed_one(store: MlflowStore, tmp_path: Path) -> None:
    """It failed on one machine and finished on another, in whatever order."""
    store.log_result(failed(tmp_path / "one"))
    assert states(store) == ["FAILED"]
    store.log_result(finished(tmp_path / "two"))
    assert states(store) == ["FINISHED"]
    store.start(spec_of_all())
    store.log_result(failed(tmp_path / "one"))
    assert states(store) == ["FINISHED"]


def test_what_is_finished_is_known_without_asking_for_each(
    store: MlflowStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study of thousands of finished runs would ask thousands of times."""
    folder = finished(tmp_path)
    store.log_result(folder)
    later = opened(tmp_path)
    asked: list[str] = []
    search = later.client.search_runs

    def counted(*args: Any, **named: Any) -> Any:
        asked.append(named["filter_string"])
        return search(*args, **named)

    monkeypatch.setattr(later.client, "search_runs", counted)
    assert [later.log_result(folder) for _ in range(3)] == [False] * 3
    assert asked == ["attributes.status = 'FINISHED'"]


def test_two_drivers_agree_on_which_run_stays(store: MlflowStore) -> None:
    """Even where both finished within the same millisecond, and both look only then."""
    tags = {attempts.KIND_TAG: attempts.RUN_KIND}
    for _ in range(2):
        run = store.client.create_run(store.experiment_id, tags=tags)
        store.client.set_terminated(run.info.run_id, "FINISHED", end_time=1_700_000_000_000)
    result = shown(store)
    first, second = (attempts.superfluous(order) for order in (result, result[::-1]))
    assert len(first) == 1
    assert first[0].info.run_id == second[0].info.run_id


def test_an_epoch_whose_answer_was_lost_is_there_once(
    store: MlflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server had written it when it died; it is sent again when another answers."""
    spec = spec_of_all()
    store.start(spec)
    mlflow_id = store._open[spec.run_id].mlflow_id
    epoch = make_record(spec, 0.5).training.epochs[0]
    with monkeypatch.context() as dying:
        send = store.client.log_batch

        def send_and_die(*given: Any, **named: Any) -> None:
            send(*given, **named)
            raise ConnectionError

        dying.setattr(store.client, "log_batch", send_and_die)
        with pytest.raises(ConnectionError):
            store.log_epochs(spec, [epoch])
    time.sleep(0.01)  # a later moment
    store.log_epochs(spec, [epoch])
    points = store.client.get_metric_history(mlflow_id, "valid/loss")
    assert [point.step for point in points] == [epoch.epoch]


def report_of(store: MlflowStore, text: str) -> str:
    return store.log_report({"report.md": text}, pd.DataFrame({"a": [1]}), [])


def test_of_two_drivers_reports_the_later_stays(
    store: MlflowStore, another: subprocess.Popen[bytes]
) -> None:
    """One that another driver is still writing is neither changed nor counted."""
    tags = {
        **life.heartbeat_tags(),
        life.PROCESS_TAG: life._process(another.pid),
        KIND_TAG: REPORT_KIND,
    }
    theirs = store.client.create_run(store.experiment_id, tags=tags).info.run_id
    assert not store.has_report()
    report_of(store, "ours")
    assert states(store) == ["FINISHED", "RUNNING"]
    store.client.set_tag(theirs, report_artifacts.CONTENT_TAG, "theirs")
    store.client.set_terminated(theirs, "FINISHED")
    assert report_of(store, "ours") != theirs  # it is the last again
    (left,) = shown(store)
    assert left.info.status == "FINISHED"


def test_a_report_that_a_dead_driver_began_is_taken_away(store: MlflowStore) -> None:
    tags = {**life.heartbeat_tags(), KIND_TAG: REPORT_KIND, life.PROCESS_TAG: "1 1"}
    store.client.create_run(store.experiment_id, tags=tags)
    created = report_of(store, "ours")
    assert [run.info.run_id for run in shown(store)] == [created]
