"""The fairness card: equal hashes where runs were treated alike, and words where they were not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmark.report.collect import Comparison, collect
from benchmark.report.fairness import Fairness, fairness
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import study_folders
from clothclf.data.batches import draw_views
from clothclf.results import Weights
from clothclf.settings import AugmentSettings
from tests.benchmark.conftest import StudyRun
from tests.benchmark.examples import make_record, make_spec
from tests.benchmark.test_report_contents import study_in


def trained(name: str, seed: int = 0, **changes: object) -> RunRecord:
    """A record of a run with the draws of its seed."""
    record = make_record(make_spec(name, seed=seed), 0.8, 1000)
    views = [draw_views(64, epoch, seed, AugmentSettings()).digest() for epoch in (1, 2)]
    result = {"steps": 8, "draws": tuple(views), **changes}
    training = dataclasses.replace(record.training, **result)
    return record.model_copy(update={"training": training})


def cards(*records: RunRecord) -> dict[str, Fairness]:
    result = fairness(Comparison(list(records), [], []))
    return {card.run: card for card in result}


def test_runs_of_a_real_study_were_treated_alike(tiny_study: StudyRun) -> None:
    """Two architectures, one by one hash each: the same images, order and steps."""
    root = tiny_study.folder / "mlruns"
    records = [r for folder in study_folders(root, "tiny") if (r := folder.record()) is not None]
    one, other = fairness(Comparison(records, [], []))
    assert (one.data, one.recipe, one.draws) == (other.data, other.recipe, other.draws)
    assert len(one.draws) == 12
    assert one.steps == other.steps == 2 * 5
    assert one.differs == other.differs == ()


def test_another_seed_has_other_draws_and_is_not_blamed_for_it() -> None:
    result = cards(trained("a"), trained("b"), trained("a", seed=1), trained("b", seed=1))
    assert result["a-s0"].draws == result["b-s0"].draws != result["a-s1"].draws
    assert all(card.differs == () for card in result.values())


def test_other_draws_within_a_seed_are_marked() -> None:
    odd = trained("c", draws=("0" * 12, "1" * 12))
    result = cards(trained("a"), trained("b"), odd)
    assert result["c-s0"].differs == (
        "order or augmentation differs from other runs with this seed",
    )
    assert result["a-s0"].differs == ()


def test_early_stopping_compares_what_all_have_and_is_reported() -> None:
    whole = trained("a")
    short = trained("b", draws=whole.training.draws[:1], stopped_early=True)
    result = cards(whole, short)
    assert result["a-s0"].draws == result["b-s0"].draws
    assert result["b-s0"].differs == ("early stopping after 1 epochs",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": Weights("file", "x.safetensors", "0" * 64, None)}, "weights file"),
        ({"precision": "bfloat16"}, "backbone precision bfloat16"),
    ],
)
def test_what_most_runs_share_and_one_does_not_is_named(
    changes: dict[str, object], words: str
) -> None:
    odd = trained("c")
    odd = odd.model_copy(update={"spec": odd.spec.model_copy(update=changes)})
    result = cards(trained("a"), trained("b"), odd)
    assert result["c-s0"].differs == (words,)


def test_a_batch_in_parts_is_marked() -> None:
    result = cards(trained("a"), trained("b", parts=4))
    assert result["b-s0"].differs == ("each batch split into 4 parts to fit in memory",)


def test_an_older_record_has_no_draws_and_says_so(tmp_path: Path) -> None:
    result = cards(make_record(make_spec("a"), 0.8, 1000), make_record(make_spec("b"), 0.7, 1000))
    assert {(card.draws, card.cells()[4]) for card in result.values()} == {("-", "-")}
    assert collect(study_in(tmp_path), tmp_path).comparisons == []
