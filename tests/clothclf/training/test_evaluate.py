"""Evaluation equals scikit-learn's, and predictions can be exported."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from clothclf.results import Predictions
from clothclf.training.evaluate import evaluate, predictions_table
from clothclf.training.metrics import METRICS, auroc, balanced_accuracy, top5_accuracy

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
    created = predictions(seed, answered, actual)
    got = evaluate(created, CLASSES)
    predicted = created.probabilities.argmax(1)
    numbers = list(range(4))
    each = metrics.precision_recall_fscore_support(
        created.targets, predicted, labels=numbers, zero_division=0
    )
    assert got.images == 97
    assert got.accuracy == pytest.approx(
        metrics.accuracy_score(created.targets, predicted), abs=1e-12
    )
    f1 = metrics.f1_score(
        created.targets, predicted, labels=numbers, average="macro", zero_division=0
    )
    assert got.metrics["macro_f1"] == pytest.approx(f1, abs=1e-12)
    for number, result in enumerate(got.per_class):
        assert result.label == CLASSES[number]
        values = (result.precision, result.recall, result.f1, result.images)
        assert values == pytest.approx([column[number] for column in each], abs=1e-12)
    confusion = metrics.confusion_matrix(created.targets, predicted, labels=numbers)
    assert np.array_equal(got.confusion, confusion)
    right = created.probabilities[np.arange(97), created.targets].astype(float)
    assert got.metrics["loss"] == pytest.approx(-np.log(np.maximum(right, 1e-30)).mean(), abs=1e-12)


@pytest.mark.parametrize(("answered", "actual"), [(4, 4), (3, 4), (4, 3), (1, 2)])
def test_balanced_accuracy_is_scikit_learns(answered: int, actual: int) -> None:
    created = predictions(1, answered, actual)
    theirs = metrics.balanced_accuracy_score(created.targets, created.probabilities.argmax(1))
    assert balanced_accuracy(created) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("decimals", [1, 7])
def test_auroc_is_scikit_learns(classes: int, decimals: int) -> None:
    """Also with many equal probabilities."""
    created = drawn(classes, decimals)
    shares = created.probabilities.astype(float)
    shares = shares / shares.sum(1, keepdims=True)
    scores = shares[:, 1] if classes == 2 else shares
    theirs = metrics.roc_auc_score(created.targets, scores, multi_class="ovr", average="macro")
    own = auroc(Predictions(created.ids, created.targets, shares))
    assert own == pytest.approx(theirs, abs=1e-9)


def test_top5_accuracy_is_scikit_learns() -> None:
    created = drawn(9, decimals=7)
    theirs = metrics.top_k_accuracy_score(
        created.targets, created.probabilities, k=5, labels=range(9)
    )
    assert top5_accuracy(created) == pytest.approx(theirs, abs=1e-12)


def test_a_metric_without_a_meaning_is_absent() -> None:
    """Top-5 of five classes, and AUROC of a class without images."""
    known = set(METRICS) - {"top5_accuracy"}
    assert set(evaluate(predictions(0), CLASSES).metrics) == known
    assert set(evaluate(predictions(0, actual=3), CLASSES).metrics) == known - {"auroc"}


def drawn(classes: int, decimals: int) -> Predictions:
    """Random predictions that are often right; few decimals make equal probabilities."""
    rng = np.random.default_rng(classes)
    targets = np.arange(120) % classes
    shares = rng.dirichlet(np.ones(classes), 120) + 0.3 * np.eye(classes)[targets]
    shares = np.maximum(shares.round(decimals), 10.0**-decimals)
    return Predictions([f"{n}" for n in range(120)], targets, shares.astype(np.float32))


def test_the_loss_is_scikit_learns_log_loss() -> None:
    created = predictions(0)
    shares = created.probabilities.astype(float)
    expected = metrics.log_loss(created.targets, shares / shares.sum(1, keepdims=True))
    assert evaluate(created, CLASSES).metrics["loss"] == pytest.approx(expected, abs=1e-6)


def test_an_answer_of_no_chance_has_a_finite_loss() -> None:
    shares = np.array([[0.0, 1, 0, 0]], dtype=np.float32)
    created = Predictions(["1"], np.array([0]), shares)
    assert evaluate(created, CLASSES).metrics["loss"] == pytest.approx(69.08, abs=0.01)


def test_the_table_has_a_row_for_each_image() -> None:
    """Labels and predictions by name, and the probability of each class."""
    created = predictions(1)
    table = predictions_table(created, CLASSES)
    assert list(table.columns) == ["id", "label", "answer", *(f"p/{name}" for name in CLASSES)]
    assert table["id"].tolist() == created.ids
    assert [CLASSES.index(label) for label in table["label"]] == created.targets.tolist()
    shares = table[[f"p/{name}" for name in CLASSES]].to_numpy()
    assert np.array_equal(shares, created.probabilities)
    assert [CLASSES.index(name) for name in table["answer"]] == shares.argmax(1).tolist()
