"""Selection: promotion, schedules within a budget, agreement of the order, and real selections."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from benchmark.config.study import StudySettings
from benchmark.errors import SelectError
from benchmark.report.statistics import wilson
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import study_folders
from benchmark.select.agreement import agree, draw_sample
from benchmark.select.clock import Clock, process_age_s
from benchmark.select.finalist_rungs import final_s, full_rung, plan_final, plan_seeds
from benchmark.select.outcome import (
    Outcome,
    RungResult,
    below_before,
    candidate_results,
    find_winner,
)
from benchmark.select.promotion import RungScore, final_order, halvings, noise, promote, ranked
from benchmark.select.rung import ImageCounts, Rung, RungKind, Speed, Training
from benchmark.select.rung_schedule import expected_s, make_schedule
from benchmark.select.rung_studies import final_study, fine_tuning, probe_study, training_of
from benchmark.select.selection_state import Candidate, Request, Selection
from benchmark.select.timing import fit_speed
from clothclf.settings import ArchitectureSettings, TuningSettings
from tests.benchmark.conftest import (
    COMMAND,
    Bench,
    Finished,
    environment,
    heed_signals,
    run_bench,
)

STANDINGS = st.lists(
    st.tuples(
        st.text("abcdef", min_size=1, max_size=4),
        st.integers(0, 20).map(lambda right: right / 20),
        st.one_of(st.none(), st.integers(1, 5)),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda item: item[0],
).map(lambda items: [RungScore(*item) for item in items])

SPEED = Speed(
    seconds_per_gmac=0.02,
    seconds_per_root_gmac=0.01,
    training=4.0,
    head_step_s=0.0005,
    start_s=7.0,
    count_s=6.0,
    measure_s=15.0,
    workers=2,
)
DEMO = ImageCounts(train=704, valid=176, test=220, classes=11)
TUNED = Training(epochs=8, seeds=1, measure=False, frozen=False)


def schedule(number: int, budget_s: float, finalists: int = 5, gmacs: float = 0.2) -> list[Rung]:
    return make_schedule([gmacs] * number, DEMO, TUNED, finalists, budget_s, SPEED)


# Halving


@given(STANDINGS, st.randoms())
def test_the_order_does_not_depend_on_who_finished_first(
    scores: list[RungScore], random: Any
) -> None:
    shuffled = list(scores)
    random.shuffle(shuffled)
    assert ranked(shuffled) == ranked(scores)


@given(STANDINGS, st.integers(1, 12))
def test_nobody_is_dropped_who_is_better_than_one_who_stays(
    scores: list[RungScore], keep: int
) -> None:
    decided = promote(scores, keep, 20)
    assert len(decided.promoted) == min(keep, len(scores))
    assert {*decided.promoted, *decided.dropped} == set(scores)
    if decided.dropped:
        assert decided.promoted[-1].accuracy >= decided.dropped[0].accuracy


def test_fewer_macs_then_the_name_win_a_tie() -> None:
    tied = [RungScore("d", 0.5, None), RungScore("c", 0.5, 2), RungScore("b", 0.5, 2)]
    assert [item.name for item in ranked([*tied, RungScore("e", 0.5, 1)])] == ["e", "b", "c", "d"]


def test_a_small_gap_on_few_images_is_noise_and_on_many_is_not() -> None:
    scores = [RungScore("a", 0.80, 1), RungScore("b", 0.77, 1)]
    assert promote(scores, 1, 100).noisy == {"b"}
    assert promote(scores, 1, 10_000).noisy == frozenset()


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 1000))
def test_noise_shrinks_with_images_and_is_never_none(one: float, other: float, images: int) -> None:
    assert 0 < noise(one, other, 4 * images) < noise(one, other, images)


@given(st.integers(1, 5000), st.integers(1, 20))
def test_each_rung_has_half_of_the_one_before(candidates: int, finalists: int) -> None:
    sizes = halvings(candidates, finalists)
    assert sizes[0] == candidates
    assert sizes[-1] <= max(finalists, 1)
    assert all(after == math.ceil(before / 2) for before, after in itertools.pairwise(sizes))


def test_who_came_further_stands_before_who_was_better_early() -> None:
    early = {name: RungScore(name, accuracy, 1) for name, accuracy in [("a", 0.9), ("b", 0.8)]}
    late = {"b": RungScore("b", 0.1, 1)}
    assert final_order([early, late]) == ["b", "a"]


# What a budget buys


@given(st.integers(1, 300), st.floats(60, 20_000), st.integers(1, 10), st.floats(0.01, 5))
def test_a_schedule_fits_its_budget_or_is_refused(
    number: int, budget_s: float, finalists: int, gmacs: float
) -> None:
    try:
        rungs = schedule(number, budget_s, finalists, gmacs)
    except SelectError:
        return
    assert expected_s(rungs) <= budget_s
    assert rungs[0].architectures == number
    assert [rung.kind for rung in rungs] == ["probe"] * (len(rungs) - 1) + ["final"]
    assert rungs[-1].architectures <= max(finalists, 2)


@given(st.integers(2, 300), st.floats(300, 20_000))
def test_each_probe_has_more_epochs_and_no_fewer_images(number: int, budget_s: float) -> None:
    try:
        probes = schedule(number, budget_s)[:-1]
    except SelectError:
        return
    for before, after in itertools.pairwise(probes):
        assert after.epochs > before.epochs
        assert DEMO.classes <= before.train <= after.train <= DEMO.train
        assert DEMO.classes <= before.valid <= after.valid <= DEMO.valid


@given(st.floats(200, 5000), st.floats(1, 4))
def test_a_larger_budget_never_buys_fewer_finalists(budget_s: float, more: float) -> None:
    try:
        few = schedule(40, budget_s)
    except SelectError:
        return
    assert schedule(40, more * budget_s)[-1].architectures >= few[-1].architectures


def test_plenty_of_time_buys_all_images_and_all_epochs() -> None:
    rungs = schedule(40, 1e6)
    assert [rung.architectures for rung in rungs] == [40, 20, 10, 5]
    assert (rungs[-1].train, rungs[-1].epochs) == (704, 8)
    assert [rung.train for rung in rungs[:-1]] == [704, 704, 704]


def test_little_time_buys_fewer_images_first() -> None:
    rungs = schedule(40, 600)
    assert rungs[-1].architectures >= 2
    first, second = (rung.train for rung in rungs[:2])
    assert second == min(DEMO.train, 2 * first) > first


def test_few_architectures_are_all_finalists() -> None:
    assert [rung.kind for rung in schedule(4, 1e6)] == ["final"]


def test_a_budget_too_small_says_what_it_takes() -> None:
    with pytest.raises(SelectError, match=r"1 min 0 s: 40 architectures take at least about \d"):
        schedule(40, 60)


def test_an_unknown_cost_counts_as_the_median() -> None:
    rung = full_rung(3, DEMO, TUNED)
    assert final_s([0.1, None, 0.3], rung, TUNED, SPEED) == pytest.approx(
        final_s([0.1, 0.2, 0.3], rung, TUNED, SPEED)
    )


@given(st.floats(0.0001, 1), st.floats(0, 0.1))
def test_two_timed_networks_give_both_factors_back(per_gmac: float, per_root: float) -> None:
    def timed(gmacs: float) -> tuple[float, float, float, float]:
        forward_s = per_gmac * gmacs + per_root * math.sqrt(gmacs)
        return gmacs, forward_s, 3 * forward_s, 4.0

    speed = fit_speed([timed(0.5), timed(0.06)], 1)
    assert speed.seconds_per_gmac == pytest.approx(per_gmac, rel=0.06)
    assert speed.seconds_per_root_gmac == pytest.approx(per_root, rel=0.06, abs=1e-4)
    assert speed.training == pytest.approx(3)


def test_a_shortened_recipe_is_valid_and_keeps_its_phases() -> None:
    recipe = fine_tuning().model_copy(update={"epochs": 8, "head_epochs": 2, "warmup_epochs": 2.0})
    short = recipe.shortened(4)
    assert (short.epochs, short.head_epochs, short.warmup_epochs) == (4, 1, 1.0)
    assert type(short).model_validate(short.model_dump()) == short


def test_finalists_are_tuned_and_their_time_includes_the_trials() -> None:
    study = StudySettings(
        study="s",
        architectures=(ArchitectureSettings(name="resnet18"),),
        tuning=TuningSettings(trials=4, epochs=1),
    )
    rung = full_rung(1, DEMO, TUNED)
    assert final_study(study, "finetune", rung, DEMO).tuning == study.tuning
    assert probe_study(study, 0, rung.model_copy(update={"kind": "probe"}), DEMO).tuning is None
    tuned = training_of(study, "finetune", DEMO)
    plain = training_of(study.model_copy(update={"tuning": None}), "finetune", DEMO)
    twice = rung.model_copy(update={"epochs": 2 * rung.epochs})
    assert tuned.with_trials(rung.epochs) == 2 * rung.epochs == 16  # 4 x 1 and 2 x 2
    assert final_s([0.1], rung, tuned, SPEED) == final_s([0.1], twice, plain, SPEED)


# Heads on frozen backbones first, whole networks with what is left of the budget

PHOTOS = ImageCounts(train=2560, valid=640, test=800, classes=10)
FINETUNED = TUNED.model_copy(update={"heads": True, "least_epochs": 4, "most_epochs": 16})


def heads_schedule(number: int, budget_s: float) -> list[Rung]:
    return make_schedule([0.2] * number, PHOTOS, FINETUNED, 5, budget_s, SPEED)


@settings(deadline=None)  # hundreds of schedules are weighed
@given(st.integers(1, 300), st.floats(30, 50_000))
def test_finetuning_has_all_images_and_enough_epochs_or_is_left_out(
    number: int, budget_s: float
) -> None:
    try:
        rungs = heads_schedule(number, budget_s)
    except SelectError:
        return
    assert expected_s(rungs) <= budget_s
    finals = [rung for rung in rungs if rung.kind == "final"]
    kinds = [rung.kind for rung in rungs if rung.kind != "probe"]
    assert kinds == ["heads", "final"][: 1 + len(finals)]
    for rung in finals:
        assert (rung.train, rung.valid) == (PHOTOS.train, PHOTOS.valid)
        assert FINETUNED.least_epochs <= rung.epochs <= 16
        assert rung.epochs >= FINETUNED.epochs or rung.architectures == 1


@settings(deadline=None)  # hundreds of schedules are weighed
@given(st.integers(1, 300), st.floats(30, 50_000))
def test_finalists_are_judged_on_all_validation_images(number: int, budget_s: float) -> None:
    """So that heads and whole networks can be compared."""
    try:
        rungs = heads_schedule(number, budget_s)
    except SelectError:
        return
    assert {rung.valid for rung in rungs if rung.kind != "probe"} == {PHOTOS.valid}


@given(st.integers(1, 5), st.floats(10, 50_000))
def test_the_last_rung_takes_what_is_left(count: int, available_s: float) -> None:
    """Another epoch of its networks would not fit, unless it has all epochs already."""
    rung = plan_final([0.2] * count, PHOTOS, FINETUNED, available_s, SPEED)
    if rung is None:
        return
    assert rung.seconds <= available_s
    longer = rung.model_copy(update={"epochs": rung.epochs + 1})
    more_s = final_s([0.2] * rung.architectures, longer, FINETUNED, SPEED)
    assert more_s > available_s or rung.epochs == 16


def test_time_beyond_all_epochs_goes_to_further_seeds() -> None:
    final = plan_final([0.2] * 3, PHOTOS, FINETUNED, 1e6, SPEED)
    assert final is not None
    took_s = final.seconds
    assert plan_seeds(final, took_s, 0.9 * took_s) is None
    more = plan_seeds(final, took_s, 2.2 * took_s)
    assert more is not None
    assert (more.kind, more.seeds, more.seconds) == ("seeds", 3, 2 * took_s)


def rung_result(kind: RungKind, **accuracies: float) -> RungResult:
    rung = Rung(kind=kind, architectures=2, train=9, valid=9, test=9, epochs=1, seconds=1)
    scores = {name: RungScore(name, accuracy, 1) for name, accuracy in accuracies.items()}
    return RungResult(kind, rung, 9, scores, {}, promote(list(scores.values()), 2, 9))


def test_a_head_that_is_better_than_all_whole_networks_is_the_answer() -> None:
    heads = rung_result("heads", a=0.72, b=0.75)
    result = find_winner([heads, rung_result("final", b=0.25)])
    assert result is not None
    assert (result[0], result[1].name) == ("heads", "b")
    better = find_winner([heads, rung_result("final", a=0.85)])
    assert better is not None
    assert (better[0], better[1].name) == ("final", "a")


def test_further_seeds_stand_in_place_of_the_first() -> None:
    final, seeds = rung_result("final", a=0.9, b=0.8), rung_result("seeds", a=0.7, b=0.8)
    result = find_winner([final, seeds])
    assert result is not None
    assert (result[0], result[1].name) == ("seeds", "b")


def test_a_rung_that_stays_below_the_one_before_is_reported() -> None:
    heads, final = rung_result("heads", a=0.75), rung_result("final", a=0.25)
    assert "final is below heads: 25.0 % (a) after 75.0 % (a)" in below_before([heads], final)
    assert below_before([final], heads) == ""


def test_who_was_stopped_is_named_and_may_win_by_its_head() -> None:
    candidates = tuple(
        Candidate(name=name, architecture=ArchitectureSettings(name=name), macs=1, params=1)
        for name in ("a", "b", "c")
    )
    request = Request(patterns=(), budget_s=60, finalists=3, final="auto")
    selection = Selection(
        name="x",
        request=request,
        fingerprint="f",
        image_counts=PHOTOS,
        final="finetune",
        candidates=candidates,
        speed=SPEED,
        rungs=(),
    )
    heads = rung_result("heads", a=0.9, b=0.2, c=0.1)
    final = dataclasses.replace(rung_result("final", b=0.3), stopped=("a", "c"))
    ends = [
        (candidate_result.candidate.name, candidate_result.end)
        for candidate_result in candidate_results(Outcome(selection, [heads, final], None, None))
    ]
    assert ends[0] == ("a", "winner, as a head on a frozen backbone")
    assert ("c", "not finished in final: out of time") in ends


def test_the_clock_runs_from_the_start_of_the_process_over_all_commands(tmp_path: Path) -> None:
    (tmp_path / "selections").mkdir()
    first = Clock(100)
    assert 0 < first.spent_s() <= process_age_s() + 0.1
    first.persist(tmp_path, "x", resumed=False)
    first.enter("r0")
    again = Clock(100)
    again.persist(tmp_path, "x", resumed=True)
    assert again.spent_s() > first.spent_s("setup") + process_age_s() - 0.1


# How far the order is to be trusted

NAMES = [f"n{number}" for number in range(8)]


@settings(deadline=None)  # the first call loads scipy
@given(st.permutations(range(8)))
def test_agreement_is_the_share_of_pairs_in_order(places: list[int]) -> None:
    trained = {name: place / 10 for name, place in zip(NAMES, places, strict=True)}
    result = agree(NAMES, trained, trained["n0"])
    assert result is not None
    right = sum(places[i] > places[j] for i in range(8) for j in range(i + 1, 8))
    assert (result.agreeing, result.pairs) == (right, 28)
    assert result.tau == pytest.approx(2 * right / 28 - 1)
    assert result.low <= result.share <= result.high
    assert len(result.ahead) == sum(place > places[0] for place in places)
    assert result.regret == pytest.approx(max(places) / 10 - places[0] / 10)


def test_pairs_that_were_judged_in_full_are_left_out() -> None:
    trained = {"a": 0.9, "b": 0.8, "c": 0.7}
    result = agree(["a", "b", "c"], trained, 0.9, judged_in_full=["a", "b"])
    assert result is not None
    assert result.pairs == 2
    assert agree(["a", "b", "c"], trained, 0.9, judged_in_full=["a", "b", "c"]) is None


def test_full_agreement_of_few_is_not_certain() -> None:
    low, high = wilson(1.0, 4)
    assert 0.4 < low < 0.6
    assert high == 1.0


@given(st.permutations(NAMES), st.integers(1, 10), st.integers(0, 5))
def test_a_sample_is_the_same_whatever_the_order(names: list[str], count: int, seed: int) -> None:
    sample = draw_sample(names, count, seed)
    assert sample == draw_sample(NAMES, count, seed)
    assert len(set(sample)) == min(count, 8)


# For real

STUDY = """\
study: choosing
data: {source: demo, image_size: 32, demo: {images_per_class: 10, seed: 0}}
architectures:
- test_resnet
- test_vit
- test_efficientnet
- {name: test_byobnet, weights: wrong.safetensors}
model: {weights: none}
train: {epochs: 2}
device: cpu
measure: false
"""
ASK = ("select", "-c", "study.yaml", "--budget", "20m", "--finalists", "2", "--final", "study")


def prepare(folder: Path) -> None:
    """The study, and weights that are found and then do not fit."""
    (folder / "study.yaml").write_text(STUDY)
    save_file({"stem.weight": np.zeros(3, dtype=np.float32)}, folder / "wrong.safetensors")


def selection_result(folder: Path) -> Any:
    """All that a selection decided, without its times."""
    text = (folder / "selection.json").read_text()
    result = json.loads(text.replace(str(folder), "FOLDER"))  # where weights lie decides nothing
    return result["winner"], result["pick"], result["architectures"]


def records(folder: Path) -> dict[str, RunRecord]:
    """Finished runs of all rungs, by rung's study and run."""
    result = {}
    for study in (folder / "mlruns" / "runs").iterdir():
        for run in study_folders(folder / "mlruns", study.name):
            record = run.verified_record()
            if record is not None:
                result[f"{study.name}/{record.run_id}"] = record
    return result


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A selection that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    prepare(folder)
    return folder, run_bench(folder, *ASK, "-o", "selection.json", timeout_s=900)


def test_a_selection_halves_down_to_a_winner(whole: tuple[Path, Finished]) -> None:
    folder, done = whole
    assert done.code == 0, done.err
    winner, _, architectures = selection_result(folder)
    reached = {item["architecture"]: item["reached"] for item in architectures}
    assert sorted(reached.values()) == ["final", "final", "r0", "r0"]
    assert architectures[0]["architecture"] == winner
    assert f"{winner} has the highest accuracy of 2 finalists" in done.err


def test_what_fails_is_dropped_with_its_reason(whole: tuple[Path, Finished]) -> None:
    folder, _ = whole
    *_, last = selection_result(folder)[2]
    assert last["architecture"] == "test_byobnet"
    assert last["end"].startswith("failed in r0: build: model.weights: ")


def test_everything_is_logged_with_its_rung(whole: tuple[Path, Finished]) -> None:
    from mlflow import MlflowClient

    folder, _ = whole
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlruns/mlflow.db")
    result = {}
    for name in ("choosing.select-r0", "choosing.select-final"):
        experiment = client.get_experiment_by_name(name)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], "tags.`bench.kind` = 'run'")
        result[name] = [run.data.tags["bench.rung"] for run in runs]
    assert result == {
        "choosing.select-r0": ["r0"] * 4,
        "choosing.select-final": ["final"] * 2,
    }


def test_no_rung_sees_a_test_image_of_the_study(whole: tuple[Path, Finished]) -> None:
    import pandas as pd

    folder, _ = whole
    seen: dict[str, set[str]] = {"train": set(), "valid": set(), "test": set()}
    for run in (folder / "mlruns" / "runs").glob("*/*/manifest.parquet"):
        manifest = pd.read_parquet(run)
        for split, ids in manifest.groupby("split")["id"]:
            seen[str(split)] |= set(ids)
    assert not seen["test"] & (seen["train"] | seen["valid"])


def test_probes_leave_the_test_split_alone(whole: tuple[Path, Finished]) -> None:
    import pandas as pd

    folder, done = whole
    probes = list((folder / "mlruns" / "runs" / "choosing.select-r0").glob("*/predictions.parquet"))
    assert probes
    for file in probes:
        manifest = pd.read_parquet(file.with_name("manifest.parquet"))
        unseen = set(manifest[manifest["split"] == "test"]["id"])
        assert not unseen & set(pd.read_parquet(file)["id"])
    said = [line for line in done.err.splitlines() if "test accuracy" in line]
    assert len(said) == 2  # of the finalists


def test_it_says_how_its_winner_is_used_and_how_long_all_took(
    whole: tuple[Path, Finished],
) -> None:
    _, done = whole
    (run,) = (line for line in done.err.splitlines() if line.startswith("run of the winner: "))
    assert (Path(run.removeprefix("run of the winner: ")) / "record.json").is_file()
    assert "use the winner: bench predict IMAGE -c study.yaml --from-select" in done.err
    assert "of a budget of 20 min 0 s" in done.err


def test_the_winner_is_used_by_the_same_config(whole: tuple[Path, Finished]) -> None:
    """The command that the selection prints, and the same without naming the selection."""
    folder, done = whole
    image = str(next((folder / "mlruns/cache/demo").rglob("*.jpg")))
    (printed,) = (line for line in done.err.splitlines() if line.startswith("use the winner: "))
    command = printed.removeprefix("use the winner: bench ").replace("IMAGE", image).split()
    for arguments in (command, ["predict", "-c", "study.yaml", image]):
        used = run_bench(folder, *arguments)
        assert used.code == 0, used.err
        assert f"predicted by {selection_result(folder)[0]}-s0" in used.err
        assert "the winner of selection choosing-" in used.err


def test_run_again_it_runs_nothing_and_says_the_same(whole: tuple[Path, Finished]) -> None:
    folder, _ = whole
    before, first = selection_result(folder), records(folder)
    again = run_bench(folder, *ASK, "-o", "selection.json")
    assert again.code == 0, again.err
    assert selection_result(folder) == before
    finished = {name: record.finished_at for name, record in first.items()}
    assert {name: record.finished_at for name, record in records(folder).items()} == finished


def test_killed_and_run_again_it_gives_the_same_answer(
    whole: tuple[Path, Finished], tmp_path: Path
) -> None:
    """Killed when the last rung has begun; what was finished is not run again."""
    prepare(tmp_path)
    command = [*COMMAND, *ASK, "-o", "selection.json"]
    with (tmp_path / "output.txt").open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=environment(),
            preexec_fn=heed_signals,
        )
        started = tmp_path / "mlruns" / "runs" / "choosing.select-final"
        end = time.monotonic() + 900
        while not list(started.glob("*/spec.json")) and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = {name: record.finished_at for name, record in records(tmp_path).items()}
    assert len(before) >= 3
    assert run_bench(tmp_path, *command[len(COMMAND) :], timeout_s=900).code == 0
    after = {name: record.finished_at for name, record in records(tmp_path).items()}
    assert before.items() <= after.items()
    assert selection_result(tmp_path) == selection_result(whole[0])


@pytest.mark.slow
def test_a_finetuned_answer_is_not_below_the_best_head_and_keeps_to_its_budget(
    tmp_path: Path,
) -> None:
    """On an idle machine: heads first, then whole networks, then further seeds."""
    (tmp_path / "study.yaml").write_text(STUDY)
    command = ("select", "-c", "study.yaml", "--budget", "3m", "--final", "finetune")
    started = time.monotonic()
    done = run_bench(tmp_path, *command, "-o", "s.json", "test_resnet", "test_vit", timeout_s=900)
    assert done.code == 0, done.err
    assert time.monotonic() - started < 180
    result = json.loads((tmp_path / "s.json").read_text())
    assert [rung["kind"] for rung in result["selection"]["rungs"]][:2] == ["heads", "final"]
    judged = [item["valid_accuracy"] for item in result["architectures"]]
    best = max(each.get("heads", 0.0) for each in judged)
    assert result["selection"]["winner"]["valid_accuracy"] >= best


def test_the_schedule_can_be_seen_without_running(bench: Bench, tmp_path: Path) -> None:
    done = bench("select", "-c", "tiny.yaml", "--budget", "10m", "--dry-run", "test_resnet")
    assert done.code == 0, done.err
    assert "schedule of tiny-" in done.out
    assert not (tmp_path / "mlruns" / "selections").exists()
    assert not (tmp_path / "mlruns" / "runs").exists()


def test_what_is_too_large_or_refuses_the_size_is_left_out(bench: Bench) -> None:
    done = bench(
        *("select", "-c", "tiny.yaml", "--budget", "10m", "--dry-run", "--max-gmacs", "0.01"),
        *("test_resnet", "resnet50", "swin_tiny_patch4_window7_224"),
    )
    assert done.code == 0, done.err
    assert "1 architectures selected, 2 excluded" in done.err
    assert "GMACs, more than 0.01" in done.err


@pytest.mark.parametrize("budget", ["30", "0m", "m", "-5m", "1h 30m", "5 minutes", "9" * 400 + "m"])
def test_a_budget_that_is_no_time_is_refused(bench: Bench, budget: str) -> None:
    done = bench("select", "-c", "tiny.yaml", f"--budget={budget}", "test_resnet")
    assert done.code == 2
    assert "use a value such as 30m" in done.err
    assert len(done.err.splitlines()) == 1


def test_too_small_a_budget_says_what_it_takes(bench: Bench) -> None:
    done = bench("select", "-c", "tiny.yaml", "--budget", "3s", "test_resnet")
    assert done.code == 2
    assert "take at least about" in done.err.splitlines()[-1]


def test_a_damaged_selection_is_named(bench: Bench, tmp_path: Path) -> None:
    from benchmark.select.selection_state import read_selection

    (tmp_path / "selections").mkdir()
    (tmp_path / "selections" / "x.json").write_text('{"version": 1}')
    with pytest.raises(SelectError, match=r"x\.json: is damaged; delete it"):
        read_selection(tmp_path, "x")
