"""Evaluation equals scikit-learn's, and predictions can be exported."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from clothclf.results import Predictions
from clothclf.training.evaluate import evaluate, predictions_table

CLASSES = ("Caps", "Shirts", "Tops", "Watches")


def predictions(seed: int, answered: int = 4, actual: int = 4, count: int = 97) -> Predictions:
    """Random predictions; with fewer than 4, the last classes are never predicted or true."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(count, 4)) * 2
    scores[:, answered:] = -30
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    targets = rng.integers(0, actual, count)
    return Predictions([f"{n}" for n in range(count)], targets, shares.astype(np.float32))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("answered", "actual"), [(4, 4), (3, 4), (4, 3), (3, 3), (1, 2)])
def test_metrics_equal_scikit_learns(seed: int, answered: int, actual: int) -> None:
    """Also if a class has no images, no predictions, or neither."""
    made = predictions(seed, answered, actual)
    got = evaluate(made, CLASSES)
    answers = made.probabilities.argmax(1)
    numbers = list(range(4))
    each = metrics.precision_recall_fscore_support(
        made.targets, answers, labels=numbers, zero_division=0
    )
    assert got.images == 97
    assert got.accuracy == pytest.approx(metrics.accuracy_score(made.targets, answers), abs=1e-12)
    f1 = metrics.f1_score(made.targets, answers, labels=numbers, average="macro", zero_division=0)
    assert got.macro_f1 == pytest.approx(f1, abs=1e-12)
    for number, result in enumerate(got.per_class):
        assert result.label == CLASSES[number]
        values = (result.precision, result.recall, result.f1, result.images)
        assert values == pytest.approx([column[number] for column in each], abs=1e-12)
    confusion = metrics.confusion_matrix(made.targets, answers, labels=numbers)
    assert np.array_equal(got.confusion, confusion)
    right = made.probabilities[np.arange(97), made.targets].astype(float)
    assert got.loss == pytest.approx(-np.log(np.maximum(right, 1e-30)).mean(), abs=1e-12)


def test_the_loss_is_scikit_learns_log_loss() -> None:
    made = predictions(0)
    shares = made.probabilities.astype(float)
    expected = metrics.log_loss(made.targets, shares / shares.sum(1, keepdims=True))
    assert evaluate(made, CLASSES).loss == pytest.approx(expected, abs=1e-6)


def test_an_answer_of_no_chance_has_a_finite_loss() -> None:
    shares = np.array([[0.0, 1, 0, 0]], dtype=np.float32)
    made = Predictions(["1"], np.array([0]), shares)
    assert evaluate(made, CLASSES).loss == pytest.approx(69.08, abs=0.01)


def test_the_table_has_a_row_for_each_image() -> None:
    """Labels and predictions by name, and the probability of each class."""
    made = predictions(1)
    table = predictions_table(made, CLASSES)
    assert list(table.columns) == ["id", "label", "answer", *(f"p/{name}" for name in CLASSES)]
    assert table["id"].tolist() == made.ids
    assert [CLASSES.index(label) for label in table["label"]] == made.targets.tolist()
    shares = table[[f"p/{name}" for name in CLASSES]].to_numpy()
    assert np.array_equal(shares, made.probabilities)
    assert [CLASSES.index(name) for name in table["answer"]] == shares.argmax(1).tolist()
