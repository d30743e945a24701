"""Packs of runs: what is in them, conflicts, and what a report of merged runs says."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.config.study import load_study
from benchmark.report.analysis import analyse
from benchmark.report.formats import FORMATS
from benchmark.report.rows import make_rows
from benchmark.runs import run_folder as files
from benchmark.runs.audits import find_audit
from benchmark.runs.curve_results import CurveFile
from benchmark.runs.deployments import Deployments
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder, study_folders
from benchmark.runs.shareable import shareable
from benchmark.runs.stress_results import StressResults
from benchmark.workflows.share_runs import merge_packs, pack_study
from clothclf.data.atomic import file_sha256
from tests.benchmark.conftest import TINY, StudyRun, environment, run_bench
from tests.benchmark.drawn_study import Made
from tests.benchmark.drawn_variants import deploy
from tests.benchmark.packed_study import (
    FAILED,
    NAMES,
    REJECTED,
    Copy,
    at,
    contents,
    make_packed,
    make_whole,
    store_of,
    texts,
)
from tests.conftest import draw_jpeg


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_whole(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def packed(whole: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_packed(whole, tmp_path_factory.mktemp("packed"))


def test_six_stores_report_like_one_that_held_all_runs(whole: Made, tmp_path: Path) -> None:
    overlapping = [
        (0, 1, 2, FAILED), (2, 3), (3, 4, 5, REJECTED), (5, 0), (6, 7, 1), (4, 6, FAILED, REJECTED),
    ]  # fmt: skip
    paths = []
    for number, places in enumerate(overlapping):
        study = store_of(whole, tmp_path / f"store{number}", places)
        paths.append(tmp_path / f"{number}.bench")
        found = pack_study(study, paths[-1])
        assert found.runs + found.without_figures == len(places)
    merged = merge_packs(at(whole, tmp_path / "merged"), paths)
    assert (len(merged.added), merged.known) == (10, 9)
    assert merged.conflicts == merged.notes == []
    everything = texts(store_of(whole, tmp_path / "all", range(10)))
    for form, text in texts(at(whole, tmp_path / "merged")).items():
        assert text == everything[form], form
    for part in (
        "Learning curve",
        "Deployed on local",
        "Deployed on laptop",
        "Int8 in onnxruntime-int8",
        "out of memory: 3 GiB were needed",
        "rejected: its record or a result file is damaged",
    ):
        assert part in everything["md"], part


def test_merging_twice_changes_nothing(whole: Made, packed: Path, tmp_path: Path) -> None:
    study = at(whole, tmp_path)
    merge_packs(study, [packed])
    before = contents(tmp_path)
    merged = merge_packs(study, [packed, packed])
    assert (merged.added, merged.known, merged.conflicts, merged.notes) == ([], 10, [], [])
    assert contents(tmp_path) == before


def test_a_pack_of_merged_runs_is_the_same_pack(whole: Made, packed: Path, tmp_path: Path) -> None:
    study = at(whole, tmp_path)
    merge_packs(study, [packed])
    pack_study(study, tmp_path / "again.bench")
    assert (tmp_path / "again.bench").read_bytes() == packed.read_bytes()


def test_own_runs_stay_as_they_are(whole: Made, packed: Path, tmp_path: Path) -> None:
    study = store_of(whole, tmp_path, range(10))
    before = contents(tmp_path)
    assert merge_packs(study, [packed]).known == 5
    assert contents(tmp_path) == before


def test_results_beside_a_known_run_are_added(whole: Made, packed: Path, tmp_path: Path) -> None:
    study = store_of(whole, tmp_path, (0,))
    own = next(iter(study_folders(tmp_path, "s")))
    shutil.rmtree(own.path / "curve")
    shutil.rmtree(own.path / "stress")
    shutil.rmtree(own.path / "deploy")
    shutil.rmtree(tmp_path / "audits")
    merge_packs(study, [packed])
    record = own.record()
    assert record is not None
    assert CurveFile(own.path, record.run_id).read() is not None
    assert len(StressResults(own.path, record.run_id, record.test.images).all()) == 1
    assert find_audit(tmp_path, record.spec.data_summary.fingerprint) is not None
    whole_run = next(iter(study_folders(whole.root, "s")))
    assert Deployments(own.path).all() == Deployments(whole_run.path).all()
    assert not list(own.path.rglob("model.bin"))


def test_a_conflict_is_shown_and_nothing_overwritten(
    whole: Made, packed: Path, tmp_path: Path
) -> None:
    study = store_of(whole, tmp_path, (0,))
    own = next(iter(study_folders(tmp_path, "s")))
    record = own.record()
    assert record is not None
    test = dataclasses.replace(record.test, metrics={**record.test.metrics, "accuracy": 0.25})
    own.write(files.RECORD, record.model_copy(update={"test": test}))
    before = contents(own.path)
    merged = merge_packs(study, [packed])
    assert len(merged.added) == 4
    [conflict] = merged.conflicts
    assert str(packed) in conflict
    assert record.run_id in conflict
    assert "25.00 % in the store" in conflict
    assert contents(own.path) == before


def test_other_times_of_equal_figures_are_no_conflict(
    whole: Made, packed: Path, tmp_path: Path
) -> None:
    """Two people trained the same run: the store keeps its own, and both values are shown."""

    def repeated(values: dict[str, Any]) -> None:
        values["peak_memory_bytes"] += 1
        values["training"]["seconds"] = 7.0
        values["training"]["epochs"][0]["seconds"] = 0.5
        values["measured"]["latency_ms_median"] = 5.0
        values["measured"]["latency_ms"] = [5.0]
        values["environment"]["processor"] = "Other"

    (tmp_path / "other.bench").write_bytes(Copy(packed).edit(repeated).zipped())
    study = store_of(whole, tmp_path, (0, 1, 2))
    before = contents(tmp_path / "runs")
    merged = merge_packs(study, [tmp_path / "other.bench"])
    assert (merged.conflicts, merged.known, len(merged.added)) == ([], 3, 2)
    [note] = merged.notes
    assert Copy(packed).records[0].split("/")[1] in note
    assert re.search(r"training \d\d\.\d s in the store, 7\.0 s in the pack", note), note
    assert "ms in the store, 5.00 ms in the pack" in note
    assert "on c with 2 threads in the store, Other with 2 threads in the pack" in note
    assert {name: contents(tmp_path / "runs")[name] for name in before} == before


def test_equal_predictions_in_other_bytes_are_no_conflict(
    whole: Made, packed: Path, tmp_path: Path
) -> None:
    """Another version of pyarrow writes the same table otherwise."""
    (tmp_path / "other.bench").write_bytes(
        Copy(packed).edit_table(files.PREDICTIONS, lambda table: table.iloc[::-1]).zipped()
    )
    merged = merge_packs(store_of(whole, tmp_path, (0, 1, 2)), [tmp_path / "other.bench"])
    assert (merged.conflicts, merged.notes, merged.known) == ([], [], 3)


def test_other_probabilities_of_equal_figures_are_a_conflict(
    whole: Made, packed: Path, tmp_path: Path
) -> None:
    """Two classes that are neither the answer nor the label change places."""
    study = store_of(whole, tmp_path, (0,))
    own = next(iter(study_folders(tmp_path, "s")))
    record = own.record()
    assert record is not None
    table = pd.read_parquet(own.path / files.PREDICTIONS)
    shares = [f"p/{label}" for label in record.spec.data_summary.classes]
    answered = {f"p/{table['answer'][0]}", f"p/{table['label'][0]}"}
    one, other = [name for name in shares if name not in answered][:2]
    table.loc[0, [one, other]] = table.loc[0, [other, one]].to_numpy()
    table.to_parquet(own.path / files.PREDICTIONS, index=False)
    hashes = {**record.files, files.PREDICTIONS: file_sha256(own.path / files.PREDICTIONS)}
    own.write(files.RECORD, record.model_copy(update={"files": hashes}))
    [conflict] = merge_packs(study, [packed]).conflicts
    assert "the same test figures, but other probabilities in predictions.parquet" in conflict


def test_a_finished_run_replaces_its_failure_and_not_the_other_way_round(
    whole: Made, packed: Path, tmp_path: Path
) -> None:
    """Whichever is merged first."""
    folders = list(study_folders(whole.root, "s"))
    spec = folders[0].spec()
    failure = folders[FAILED].failure()
    assert spec is not None
    assert failure is not None
    failed = tmp_path / "failed" / "runs" / "s" / folders[0].path.name
    failed.mkdir(parents=True)
    RunFolder(failed).write(files.SPEC, spec)
    own = failure.model_copy(update={"spec": spec, "run_id": spec.run_id})
    RunFolder(failed).write(files.FAILURE, own)
    pack_study(at(whole, tmp_path / "failed"), tmp_path / "failed.bench")
    for number, packs in enumerate(([tmp_path / "failed.bench", packed],
                                    [packed, tmp_path / "failed.bench"])):  # fmt: skip
        root = tmp_path / str(number)
        merged = merge_packs(at(whole, root), packs)
        assert merged.conflicts == []
        folder = next(iter(study_folders(root, "s")))
        assert folder.record() is not None
        assert folder.failure() is None
    [note] = merged.notes
    assert "the store keeps its own state of the run" in note


def variants_in(root: Path) -> Deployments:
    return Deployments(next(iter(study_folders(root, "s"))).path)


def test_variants_that_the_store_lacks_are_added_and_judged_with_its_own(
    whole: Made, packed: Path, tmp_path: Path
) -> None:
    study = store_of(whole, tmp_path, (0,))
    own = next(iter(study_folders(tmp_path, "s")))
    shutil.rmtree(own.path / "deploy")
    deploy(own, ("torch", "onnxruntime"))
    assert merge_packs(study, [packed]).conflicts == []
    assert variants_in(tmp_path).all() == variants_in(whole.root).all()


def test_other_devices_are_added_and_other_times_are_no_conflict(
    whole: Made, packed: Path, tmp_path: Path
) -> None:
    study = store_of(whole, tmp_path, (0,))
    own = next(iter(study_folders(tmp_path, "s")))
    shutil.rmtree(own.path / "deploy")
    deploy(own, device="laptop")
    assert merge_packs(study, [packed]).notes == []
    assert {item.timing.device.name for item in variants_in(tmp_path).all()} == {"local", "laptop"}
    deploy(own, latency_ms=9.0)
    merged = merge_packs(study, [packed])
    assert merged.conflicts == []
    assert len(merged.notes) == 3
    assert "torch on local: latency 9.10 ms in the store, 2.10 ms in the pack" in merged.notes[-1]
    assert min(item.timing.latency_ms_median for item in variants_in(tmp_path).all()) < 9


def test_other_predictions_of_a_variant_are_a_conflict(
    whole: Made, packed: Path, tmp_path: Path
) -> None:
    study = store_of(whole, tmp_path, (0,))
    deployments = variants_in(tmp_path)
    (artifact,) = deployments.artifacts("onnxruntime-int8")
    path = deployments.folder(artifact) / "predictions.parquet"
    table = pd.read_parquet(path)
    table.iloc[0, 3:] = np.roll(table.iloc[0, 3:].to_numpy(), 1)
    table.to_parquet(path, index=False)
    before = contents(deployments.path)
    [conflict] = merge_packs(study, [packed]).conflicts
    assert "the store has another predictions of onnxruntime-int8, which was kept" in conflict
    assert contents(deployments.path) == before


def test_variants_that_cannot_be_verified_are_left_out(whole: Made, tmp_path: Path) -> None:
    study = store_of(whole, tmp_path, (0,))
    deployments = variants_in(tmp_path)
    accuracies = deployments.accuracies()
    assert accuracies is not None
    deployments.write_accuracies(accuracies.model_copy(update={"accuracy": 0.99}))
    found = pack_study(study, tmp_path / "s.bench")
    assert found.runs == 1
    [line] = found.skipped
    assert "deployed variants: accuracy is not that of the predictions; `bench deploy`" in line
    assert not [name for name in Copy(tmp_path / "s.bench").members if "/deploy/" in name]


def test_a_pack_of_version_1_is_read(whole: Made, packed: Path, tmp_path: Path) -> None:
    """Version 1 had neither variants nor runs without figures."""
    copy = Copy(packed)
    for name in list(copy.members):
        if "/deploy/" in name or name.endswith(("failure.json", "rejection.json")):
            del copy.members[name]
    copy.changes = {"version": 1}
    (tmp_path / "old.bench").write_bytes(copy.zipped())
    assert len(merge_packs(at(whole, tmp_path), [tmp_path / "old.bench"]).added) == 3


def test_rows_keep_measurements_of_different_processors_apart(whole: Made) -> None:
    comparison = whole.collection().comparisons[0]
    assert {row.measured.device for row in make_rows(comparison) if row.measured} == {"cpu"}
    other = comparison.records[0].environment.model_copy(update={"processor": "Other"})
    records = [
        record.model_copy(update={"environment": other})
        if record.spec.architecture == NAMES[0]
        else record
        for record in comparison.records
    ]
    both = dataclasses.replace(comparison, records=records)
    rows = make_rows(both)
    assert {row.measured.device for row in rows if row.measured} == {"cpu c", "cpu Other"}
    analysis = analyse(both, whole.root)
    text = FORMATS["md"].load()(whole.study, whole.collection(), [analysis])
    assert "### Measured on cpu Other, 2 threads, float32, 112 x 112 px" in text
    assert "Runs were trained on different devices, so their times differ. cpu Other: res" in text


def private(record: RunRecord, secret: str) -> RunRecord:
    """A record with a secret in every place where a path, tag or error may have one."""
    spec, path = record.spec, Path(f"/home/{secret}/file")
    data = spec.data.model_copy(update={"exclude": path})
    return record.model_copy(
        update={
            "spec": spec.model_copy(
                update={
                    "pixels": path,
                    "cache": path.parent,
                    "tags": {"user": secret, "uri": f"postgresql://me:{secret}@host/db"},
                    "weights": dataclasses.replace(
                        spec.weights, path=path, note=f"cannot read '{path}'"
                    ),
                    "model": spec.model.model_copy(update={"weights": f"../{secret}/w"}),
                    "data": data.model_copy(
                        update={"path": path, "source": "plugin", "options": {"api_key": secret}}
                    ),
                }
            ),
            "cost_error": f"No such file: '/home/{secret}/x y' or C:\\Users\\{secret}\\x",
            "measured_error": f"http://user:{secret}@host:5000/api failed, password={secret}",
        }
    )


def test_a_shared_record_has_no_secret_and_the_same_identity(whole: Made) -> None:
    record = whole.collection().comparisons[0].records[0]
    shared = shareable(private(record, "hunter2"))
    assert "hunter2" not in shared.model_dump_json()
    assert shared.run_id == shared.spec.run_id == record.run_id
    assert (shared.test, shared.training, shared.cost) == (
        record.test,
        record.training,
        record.cost,
    )
    assert shareable(shared) == shared


def test_secrets_are_nowhere_in_a_pack(tmp_path: Path) -> None:
    """Planted in the environment, the user's name, the folder, and the tags of a run."""
    folder = tmp_path / "hunter2-folder"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(
        TINY.replace("[test_resnet, test_efficientnet]", "[test_resnet]")
    )
    planted = {
        **environment(),
        "USER": "hunter2-user",
        "HOSTNAME": "hunter2-host",
        "MLFLOW_TRACKING_USERNAME": "hunter2-user",
        "MLFLOW_TRACKING_PASSWORD": "hunter2-password",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/hunter2.db",
        "AWS_SECRET_ACCESS_KEY": "hunter2-aws",
    }
    done = run_bench(folder, "run", "--all", "-c", "tiny.yaml", variables=planted)
    assert done.code == 0, done.err
    own = next(iter(study_folders(folder / "mlruns", "tiny")))
    spec = own.spec()
    assert spec is not None
    assert "hunter2" in spec.model_dump_json()
    done = run_bench(folder, "pack", "-c", "tiny.yaml", "-o", "tiny.bench", variables=planted)
    assert done.code == 0, done.err
    copy = Copy(folder / "tiny.bench")
    assert len(copy.members) >= 4
    for name, content in copy.members.items():
        assert b"hunter2" not in content, name
        assert b"hunter2" not in name.encode()


@pytest.fixture(scope="module")
def merged_tiny(tiny_study: StudyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store into which the tiny study was merged."""
    folder = tmp_path_factory.mktemp("merged")
    (folder / "tiny.yaml").write_text(TINY)
    done = run_bench(tiny_study.folder, "pack", "-c", "tiny.yaml", "-o", str(folder / "a.bench"))
    assert (done.code, "2 runs packed" in done.err) == (0, True), done.err
    done = run_bench(folder, "merge", "a.bench", "-c", "tiny.yaml")
    assert (done.code, "2 runs merged" in done.out) == (0, True), done.err
    return folder


def test_commands_work_on_merged_runs(tiny_study: StudyRun, merged_tiny: Path) -> None:
    for command in (
        ("report", "-c", "tiny.yaml"),
        ("report", "-c", "tiny.yaml", "--format", "json"),
        ("compare", "test_resnet-s0", "test_efficientnet-s0", "-c", "tiny.yaml"),
        ("runs", "list", "-c", "tiny.yaml"),
    ):
        own, other = (run_bench(place, *command) for place in (tiny_study.folder, merged_tiny))
        assert (own.code, other.code) == (0, 0), other.err
        assert own.out == other.out, command


RUN_OPTION = ("--run", "test_resnet-s0")


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "image.jpg", *RUN_OPTION),
        ("export", "-o", "x.onnx", *RUN_OPTION),
        ("deploy", *RUN_OPTION),
        ("register", *RUN_OPTION),
        ("stress", "test_resnet"),
    ],
    ids=lambda command: command[0],
)
def test_commands_say_that_a_merged_run_has_no_model(
    command: tuple[str, ...], merged_tiny: Path
) -> None:
    (merged_tiny / "image.jpg").write_bytes(draw_jpeg(0))
    done = run_bench(merged_tiny, *command, "-c", "tiny.yaml")
    assert done.code == 2
    assert "the run was merged from a pack, which holds no model" in done.err
    assert "Traceback" not in done.err


def test_merged_runs_are_not_trained_again_and_reach_mlflow(merged_tiny: Path) -> None:
    before = contents(merged_tiny / "mlruns" / "runs")
    done = run_bench(merged_tiny, "run", "--all", "-c", "tiny.yaml")
    assert done.code == 0, done.err
    assert contents(merged_tiny / "mlruns" / "runs") == before
    done = run_bench(merged_tiny, "sync", "-c", "tiny.yaml")
    assert (done.code, done.out.strip()) == (0, "0 runs logged, 2 already logged"), done.err


def test_sync_logs_merged_runs(merged_tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(merged_tiny / "mlruns" / "runs", tmp_path / "mlruns" / "runs")
    (tmp_path / "tiny.yaml").write_text(TINY)
    done = run_bench(tmp_path, "sync", "-c", "tiny.yaml")
    assert (done.code, done.out.strip()) == (0, "2 runs logged, 0 already logged"), done.err


def test_merge_reports_a_conflict_with_exit_code_1(merged_tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(merged_tiny, tmp_path / "copy")
    folder = next(iter(study_folders(tmp_path / "copy" / "mlruns", "tiny")))
    record = folder.record()
    assert record is not None
    for changed, code, said in (
        ({"peak_memory_bytes": 1}, 0, "the figures agree, and the store keeps its own times: "
         "other values of peak_memory_bytes"),
        ({"backbone_sha256": "0"}, 1, "other values of backbone_sha256"),
    ):  # fmt: skip
        RunFolder(folder.path).write(files.RECORD, record.model_copy(update=changed))
        done = run_bench(tmp_path / "copy", "merge", "a.bench", "-c", "tiny.yaml")
        assert done.code == code
        assert f"0 runs merged, {2 - code} already known, {code} not merged" in done.out
        assert said in done.err


def test_what_is_no_pack_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.bench").write_text("hello")
    (tmp_path / "tiny.yaml").write_text(TINY)
    for name in ("text.bench", "missing.bench", "."):
        done = run_bench(tmp_path, "merge", name, "-c", "tiny.yaml")
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
    done = run_bench(tmp_path, "pack", "-c", "tiny.yaml")
    assert (done.code, "has no finished run" in done.err) == (2, True), done.err
    assert not (tmp_path / "tiny.bench").exists()


def test_runs_of_an_earlier_version_are_packed_in_the_present_one(tmp_path: Path) -> None:
    stored = Path(__file__).parent / "fixtures" / "version2"
    for source in stored.glob("*-s0-*"):
        target = tmp_path / "mlruns" / "runs" / "tiny" / source.name
        shutil.copytree(source, target)
        for name in json.loads((source / files.RECORD).read_text())["files"]:
            (target / name).touch()
    (tmp_path / "tiny.yaml").write_text(TINY)
    own = load_study(tmp_path / "tiny.yaml", [f"tracking.folder={tmp_path / 'mlruns'}"])
    other = load_study(tmp_path / "tiny.yaml", [f"tracking.folder={tmp_path / 'other'}"])
    assert pack_study(own, tmp_path / "old.bench").skipped == []
    assert len(merge_packs(other, [tmp_path / "old.bench"]).added) == 2
    assert texts(own) == texts(other)
