"""Tuned studies: identity, records, resuming, reports, estimates and bad input."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmark.engine.estimate import estimate
from benchmark.report.analysis import analyse
from benchmark.report.collect import Comparison
from benchmark.report.fairness import fairness
from benchmark.report.rows import make_rows
from benchmark.report.tuned_settings import edge_note, expected_best, sentence
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import STAGES, study_folders
from benchmark.runs.setting_differences import comparable_settings, differing_settings
from clothclf.results import Probe, StepTimes, Trial, TrialRung, TuningResult
from clothclf.settings import TuningSettings
from tests.benchmark.conftest import TINY, Bench, StudyRun, run_bench
from tests.benchmark.examples import make_record, make_spec
from tests.faults import study as faulty
from tests.faults.study import figures

TUNED = "tuning: {trials: 6, epochs: 1}\n"
EQUAL_NETWORKS = """\
study: equal_networks
data: {source: demo, image_size: 32, demo: {images_per_class: 80}}
architectures: ["equal_networks:plain", "equal_networks:scaled"]
model: {weights: none, mode: frozen}
train: {epochs: 12, learning_rate: 0.01, schedule: cosine}
device: cpu
measure: false
"""
EQUAL_NETWORKS_TUNED = f"""{EQUAL_NETWORKS}
tuning:
  trials: 12
  space: {{optimizer: [sgd, adamw], learning_rate: {{low: 1e-4, high: 10, log: true}}}}
"""


def records_in(folder: Path, study: str = "tiny") -> list[RunRecord]:
    result = (item.record() for item in study_folders(folder / "mlruns", study))
    return [record for record in result if record is not None]


def trials_of(record: RunRecord) -> TuningResult:
    assert record.training.tuning is not None
    return record.training.tuning


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "tiny.yaml").write_text(TINY + TUNED)
    first = run_bench(folder, "run", "--all", "-c", "tiny.yaml")
    return StudyRun(folder, first)


# Identity


def test_a_tuned_run_is_another_run_and_compared_with_tuned_ones_only() -> None:
    plain, tuned = make_spec(), make_spec(tuning=TuningSettings())
    assert plain.run_id == "2858f6ffbc8b"
    assert plain.protocol_id == "62a6db2324e3"
    assert tuned.protocol_id != plain.protocol_id
    assert comparable_settings(tuned) != comparable_settings(plain)
    changes: list[dict[str, Any]] = [
        {"trials": 8},
        {"epochs": 2},
        {"space": {"learning_rate": {"low": 0.001, "high": 0.1, "log": True}}},
    ]
    ids = {make_spec(tuning=TuningSettings(**change)).run_id for change in changes}
    assert len(ids | {tuned.run_id, plain.run_id}) == 5
    assert tuned.protocol_id == make_spec("b", seed=1, tuning=TuningSettings()).protocol_id


def test_runs_are_reported_apart_by_their_trials() -> None:
    plain, six, eight = (
        make_spec(),
        make_spec(tuning=TuningSettings()),
        make_spec(tuning=TuningSettings(trials=8)),
    )
    assert differing_settings([plain, six, eight]) == ["trials=-", "trials=6", "trials=8"]
    longer = make_spec(tuning=TuningSettings(epochs=2))
    assert differing_settings([six, longer]) == ["epochs=-", "epochs=2"]


def test_a_spec_with_tuning_travels_as_json() -> None:
    spec = make_spec(tuning=TuningSettings())
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec


# Runs


def test_each_run_tries_the_same_points_and_trains_with_the_best(tuned: StudyRun) -> None:
    assert tuned.first.code == 0, tuned.first.err
    records = records_in(tuned.folder)
    assert len(records) == 2
    one, other = map(trials_of, records)
    assert [trial.settings for trial in one.trials] == [trial.settings for trial in other.trials]
    for record in records:
        result = trials_of(record)
        own = record.spec.train
        assert result.trials[0].settings["learning_rate"] == own.learning_rate
        assert sum(len(trial.rungs) for trial in result.trials) == 6 + 3
        assert record.training.epochs[0].learning_rate == result.best.settings["learning_rate"]
        assert record.stage_seconds["tune"] == result.seconds > 0
        assert record.training.reused_seconds == 0  # computed once, by the tuning itself
    assert "tuned: " in tuned.first.err + tuned.first.out


def test_the_report_shows_what_tuning_chose_and_brought(tuned: StudyRun) -> None:
    def report(*arguments: str) -> str:
        done = run_bench(tuned.folder, "report", "-c", "tiny.yaml", *arguments)
        assert done.code == 0, done.err
        return done.out

    text = report()
    assert "### Tuning\n\nTuning " in text
    assert "6 x 1, 3 x 2 epochs" in text
    assert "tuned on validation with 6 trials over optimizer sgd or adamw, learning rate" in text
    assert "2 after 9 trials of 12 epochs in total" in text
    (comparison,) = json.loads(report("--format", "json"))["comparisons"]
    by_name = {record.spec.architecture: trials_of(record) for record in records_in(tuned.folder)}
    for row in comparison["rows"]:
        assert row["tuning_gain"] == by_name[row["architecture"]].gain
        assert str(row["tuned_settings"]).startswith(("sgd, ", "adamw, "))
    assert comparison["protocol"]["tuning"]["trials"] == 6
    page = report("--format", "html")
    assert 'data-chart="tuning"' in page
    assert "Expected best validation accuracy" in page
    assert "tuning_gain" in report("--format", "csv")
    untuned = run_bench(tuned.folder, "report", "-c", "tiny.yaml", "--set", "tuning=null")
    assert "found 2 with tuning.trials=6" in untuned.out + untuned.err


def test_the_store_has_trials_as_nested_runs_outside_the_comparison(tuned: StudyRun) -> None:
    from benchmark.tracking.comparison_view import RUNS_ONLY
    from tests.benchmark.test_tracking import runs_of

    runs = runs_of(tuned.folder)
    trials = runs_of(tuned.folder, kind="trial")
    for record in records_in(tuned.folder):
        (parent,) = [run for run in runs if run.data.tags["bench.run_id"] == record.run_id]
        assert parent.data.tags["bench.tuned_settings"].startswith(("sgd, ", "adamw, "))
        own = [run for run in trials if run.data.tags["mlflow.parentRunId"] == parent.info.run_id]
        result = trials_of(record)
        names = {run.info.run_name: run for run in own}
        assert len(names) == len(own) == len(result.trials)
        for number, trial in enumerate(result.trials):
            mark = " (chosen)" * (number == result.chosen)
            run = names[f"{record.spec.name} trial {number + 1}{mark}"]
            assert run.data.params["optimizer"] == trial.settings["optimizer"]
            assert run.data.metrics["valid/accuracy"] == trial.rungs[-1].valid_accuracy
            assert RUNS_ONLY.partition("=")[2].strip(" '") != run.data.tags["bench.kind"]


def test_trials_are_logged_once_and_deleted_with_their_run(tuned: StudyRun, tmp_path: Path) -> None:
    from tests.benchmark.test_tracking import runs_of

    folder = tmp_path / "copy"
    shutil.copytree(tuned.folder, folder)
    shutil.rmtree(folder / "mlruns" / "artifacts", ignore_errors=True)
    for left in (folder / "mlruns").glob("mlflow.db*"):
        left.unlink()
    for _ in range(2):
        assert run_bench(folder, "sync", "-c", "tiny.yaml").code == 0
    trials = runs_of(folder, kind="trial")
    assert len(trials) == sum(len(trials_of(record).trials) for record in records_in(folder))
    missing, saved = records_in(folder)
    done = run_bench(folder, "runs", "delete", missing.run_id, "--yes", "-c", "tiny.yaml")
    assert done.code == 0, done.err
    assert len(runs_of(folder, kind="trial")) == len(trials_of(saved).trials)


def test_an_untuned_report_is_as_before(tiny_study: StudyRun) -> None:
    text = run_bench(tiny_study.folder, "report", "-c", "tiny.yaml").out
    assert "uning" not in text
    assert (
        "tun"
        not in run_bench(
            tiny_study.folder, "report", "-c", "tiny.yaml", "--format", "csv"
        ).out.splitlines()[0]
    )


def without_times(result: TuningResult) -> list[list[tuple[object, ...]]]:
    return [
        [(rung.epochs, rung.valid_accuracy, rung.valid_loss) for rung in trial.rungs]
        for trial in result.trials
    ]


def test_a_run_killed_while_tuning_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    text = faulty.STUDY.replace("seeds: [0, 1]", "seeds: [0]")
    text += "tuning: {trials: 16, epochs: 2}\n"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        (folder / "faults.yaml").write_text(text)
    faulty.finish(whole)
    process = faulty.start(killed, "run", "--all")
    end = time.monotonic() + 240
    while (done := _stored_trials(killed)) < 3:
        assert process.poll() is None, faulty.output(killed)
        assert time.monotonic() < end
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    faulty.assert_no_process(killed)
    done = _stored_trials(killed)
    (expected,) = records_in(whole, "faults")
    assert 3 <= done < sum(len(trial.rungs) for trial in trials_of(expected).trials)
    faulty.finish(killed)
    (record,) = records_in(killed, "faults")
    assert figures(killed) == figures(whole)
    assert without_times(trials_of(record)) == without_times(trials_of(expected))
    assert trials_of(record).chosen == trials_of(expected).chosen


def _stored_trials(folder: Path) -> int:
    """Number of finished trials of the only run."""
    for run in study_folders(folder / "mlruns", "faults"):
        try:
            stages = json.loads((run.path / STAGES).read_text())["stages"]
            trials = json.loads(stages["tune"]["value"])["trials"]
        except (OSError, KeyError, ValueError):
            continue
        return sum(len(trial["rungs"]) for trial in trials)
    return 0


def differences(folder: Path, seeds: Sequence[int] = (0,)) -> list[tuple[float, str]]:
    """Difference of the equal networks in points, and the verdict, for each seed."""
    result: list[tuple[float, str]] = []
    for seed in seeds:
        pair = [
            record for record in records_in(folder, "equal_networks") if record.spec.seed == seed
        ]
        assert len(pair) == 2
        (verdict,) = analyse(Comparison(pair, [], []), folder / "mlruns").pairs.values()
        result.append((100 * verdict.difference, verdict.verdict))
    return result


def run_equal_networks(folder: Path, text: str, *seeds: int) -> list[tuple[float, str]]:
    """Run both equal networks with each seed."""
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("equal_networks.py"), folder)
    (folder / "equal_networks.yaml").write_text(text)
    of_seeds = [f"--seed={seed}" for seed in seeds]
    done = run_bench(folder, "run", "--all", "-c", "equal_networks.yaml", *of_seeds, timeout_s=3000)
    assert done.code == 0, done.err
    return differences(folder, seeds)


def test_networks_of_one_function_are_apart_at_one_rate_and_not_when_tuned(tmp_path: Path) -> None:
    ((shared, verdict),) = run_equal_networks(tmp_path / "shared", EQUAL_NETWORKS, 0)
    assert shared >= 5
    assert verdict == "apart"
    ((_, verdict),) = run_equal_networks(tmp_path / "tuned", EQUAL_NETWORKS_TUNED, 0)
    assert verdict != "apart"


# Estimates


def test_the_estimate_has_the_epochs_of_all_trials() -> None:
    def probe(route: str) -> Probe:
        times = {"float32": StepTimes(forward_s=0.001, step_s=0.1)}
        return Probe(route, times, 2, 8, 4, 1.0, 2**20)  # type: ignore[arg-type]

    plain, tuned = make_spec(), make_spec(tuning=TuningSettings())
    heads = probe("features")
    more = estimate(tuned, heads).seconds - estimate(plain, heads).seconds
    assert more == pytest.approx((6 * 3 + 3 * 6) * 4 * 0.1)
    whole = probe("images")
    more = estimate(tuned, whole).seconds - estimate(plain, whole).seconds
    assert more == pytest.approx(6 * (4 * 0.1 + 16 * 0.001))


# Reports


def trial(*accuracies: float | None, rate: float = 0.01) -> Trial:
    rungs = tuple(
        TrialRung(number, accuracy, None if accuracy is None else 1 - accuracy, 2.0)
        for number, accuracy in enumerate(accuracies, 1)
    )
    return Trial({"learning_rate": rate}, rungs)


def record_of(name: str, *trials: Trial, chosen: int = 0, **tuning: Any) -> RunRecord:
    settings = {"trials": 3, "space": {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}}
    spec = make_spec(name, tuning=TuningSettings(**{**settings, **tuning}))
    record = make_record(spec, 0.8, 1000)
    training = dataclasses.replace(record.training, tuning=TuningResult(trials, chosen))
    return record.model_copy(update={"training": training})


def test_the_gain_is_of_the_last_rung_that_the_own_settings_reached() -> None:
    result = TuningResult((trial(0.5), trial(0.6, 0.9), trial(0.7, 0.8)), 1)
    assert result.gain == pytest.approx(0.1)
    assert TuningResult((trial(None), trial(0.5)), 1).gain is None


def test_the_sentence_says_whether_the_order_changed() -> None:
    first = record_of("a", trial(0.5), trial(0.6), trial(0.55))
    second = record_of("b", trial(0.4), trial(0.7), trial(0.5))
    (same, changed) = (record_of("b", trial(0.4), trial(0.5)), second)
    assert sentence(make_rows(Comparison([first, same], [], []))).startswith(
        "Tuning did not change the order: a > b, "
    )
    assert sentence(make_rows(Comparison([first, changed], [], []))).startswith(
        "Tuning changed the order: a > b with the study's settings, b > a with the best settings"
    )


def test_the_expected_best_of_k_trials_by_hand() -> None:
    (row,) = make_rows(Comparison([record_of("a", trial(0.2), trial(0.8), trial(None))], [], []))
    # Of two draws from 0, 0.2 and 0.8, the maximum is 0.8 in 5 of 9 cases, and 0.2 in 3.
    assert expected_best(row)[:2] == pytest.approx([1 / 3, (5 * 0.8 + 3 * 0.2) / 9])
    assert len(expected_best(row)) == 3


@pytest.mark.parametrize(
    ("rate", "space", "note"),
    [
        (0.09, {}, "upper edge of the tuned space; also try higher values"),
        (0.00011, {}, "lower edge of the tuned space; also try lower values"),
        (0.5, {}, "upper edge"),
        (0.003, {}, ""),
        (0.1, {"space": {"learning_rate": [0.001, 0.01, 0.1]}}, "upper edge"),
        (0.01, {"space": {"learning_rate": [0.001, 0.01, 0.1]}}, ""),
    ],
)
def test_a_rate_at_the_edge_of_the_space_is_a_caveat(
    rate: float, space: dict[str, Any], note: str
) -> None:
    record = record_of("a", trial(0.5), trial(0.6, rate=rate), chosen=1, **space)
    assert note in "".join(edge_note(record))
    assert bool(edge_note(record)) == bool(note)


def test_the_fairness_card_names_the_budget() -> None:
    tuned = record_of("a", trial(0.5, 0.6), trial(0.5))
    plain = make_record(make_spec("b"), 0.8, 1000)
    with_budget, without = fairness(Comparison([tuned, plain], [], []))
    assert with_budget.cells()[5] == "1 after 3 trials of 4 epochs in total"
    assert without.cells()[5] == "1"


# Bad input


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ("{trials: 1}", "tuning.trials: input should be greater than or equal to 2, not 1"),
        (
            "{space: {learning_rat: [0.1]}}",
            "tuning.space: learning_rat: is no setting of train (did you mean learning_rate",
        ),
        (
            "{space: {learning_rate: {low: 0.1, high: 0.01}}}",
            "tuning.space: learning_rate: low (0.1) must be below high (0.01)",
        ),
        (
            "{space: {final_learning_rate: [0.001]}}",
            "tuning.space: only 0 of 5 further trials get valid settings",
        ),
        (
            "{trials: 2, space: {optimizer: [adamww]}}",
            "tuning.space: train.optimizer: 'adamww' is not known",
        ),
    ],
)
def test_a_space_that_cannot_be_tuned_is_one_sentence(
    bench: Bench, tuning: str, message: str
) -> None:
    done = bench("run", "test_resnet", "-c", "tiny.yaml", "--set", f"tuning={tuning}")
    assert done.code == 2
    (line,) = [text for text in done.err.splitlines() if "tuning" in text]
    assert message in line


def test_runs_of_several_processes_are_not_tuned(bench: Bench) -> None:
    done = bench("run", "test_resnet", "-c", "tiny.yaml", "--tune", "4", "--processes-per-run", "2")
    assert done.code == 2
    assert "tuning: runs of several processes cannot be tuned" in done.err
