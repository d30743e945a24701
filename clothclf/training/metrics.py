"""Registry of the metrics of a trained model; each is a function of its predictions.

To add a metric, write its function and add one entry to `METRICS`. Records, CSV, JSON, MLflow, the
tables of a report and `--front` then have it. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clothclf.results import ClassResult, Predictions

Floats = npt.NDArray[np.float64]
TOP = 5


@dataclass(frozen=True)
class Metric:
    """One metric of the predictions for one split."""

    name: str
    """Key in records, in JSON and CSV (`test_NAME`) and in MLflow (`test/NAME`)."""
    title: str
    of: Callable[[Predictions], float | None]
    """Value; None if the metric is not defined for these predictions."""
    unit: str = ""
    """`%` for a fraction from 0 to 1 that is shown in percent; empty for a plain number."""
    higher_is_better: bool = True
    key: str = ""
    """Name in options such as `--front`, if it is not `name`."""

    @property
    def option(self) -> str:
        """Name in options such as `--front`."""
        return self.key or self.name

    @property
    def axis_title(self) -> str:
        """Title with unit, for axes and table headers."""
        return f"test {self.title} ({self.unit})" if self.unit else self.title

    def scaled(self, value: float | None) -> float | None:
        """Return a value in the unit of `axis_title`."""
        return 100 * value if self.unit == "%" and value is not None else value

    def text(self, value: float | None, digits: int = 2) -> str:
        """Format a value with its unit; a dash for None. `digits` are the decimals of percents."""
        if value is None:
            return "-"
        return f"{100 * value:.{digits}f} %" if self.unit == "%" else f"{value:.{digits + 2}f}"


def accuracy(predictions: Predictions) -> float:
    """Return the fraction of correct predictions, like `sklearn.metrics.accuracy_score`."""
    correct = predictions.probabilities.argmax(1) == predictions.targets
    return float(correct.sum() / len(correct))


def macro_f1(predictions: Predictions) -> float:
    """Return the unweighted mean of the F1 scores of all classes.

    Like `sklearn.metrics.f1_score` with `average="macro"`, `labels` of all classes and
    `zero_division=0`: a class without true or predicted images has an F1 of 0.
    """
    return float(f1_scores(*class_totals(confusion_matrix(predictions))).mean())


def loss(predictions: Predictions) -> float:
    """Return the mean cross-entropy in nats, like `sklearn.metrics.log_loss`.

    Probabilities below 1e-30 count as 1e-30, so that the loss is finite.
    """
    indices = np.arange(len(predictions.targets))
    right = predictions.probabilities[indices, predictions.targets].astype(float)
    return float(-np.log(np.maximum(right, 1e-30)).mean())


def balanced_accuracy(predictions: Predictions) -> float:
    """Return the mean recall of the classes with images.

    Like `sklearn.metrics.balanced_accuracy_score` (Brodersen et al. 2010).
    """
    hits, actual, _ = class_totals(confusion_matrix(predictions))
    known = actual > 0
    return float((hits[known] / actual[known]).mean())


def top5_accuracy(predictions: Predictions) -> float | None:
    """Return the fraction of images whose class is among the five most probable ones.

    Like `sklearn.metrics.top_k_accuracy_score` with `k=5`. None with at most five classes.
    """
    if predictions.probabilities.shape[1] <= TOP:
        return None
    likely = np.argsort(predictions.probabilities, axis=1, kind="stable")[:, -TOP:]
    return float((likely == predictions.targets[:, None]).any(axis=1).mean())


def auroc(predictions: Predictions) -> float | None:
    """Return the area under the ROC curve, the mean of each class against all others.

    Like `sklearn.metrics.roc_auc_score` with `multi_class="ovr"` and `average="macro"`, computed
    from ranks (Hanley and McNeil 1982). None if a class has no image.
    """
    shares, targets = predictions.probabilities, predictions.targets
    actual = np.bincount(targets, minlength=shares.shape[1])
    if not actual.all() or len(actual) < 2:
        return None
    return float(np.mean([_area(shares[:, i], targets == i) for i in range(len(actual))]))


def _area(scores: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_]) -> float:
    """Return the probability that a positive image has a higher score than another one."""
    _, indices, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[indices.reshape(-1)]  # equal scores share a rank
    count = int(positive.sum())
    above = float(ranks[positive].sum()) - count * (count + 1) / 2
    return above / (count * (len(scores) - count))


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy", accuracy, "%"),
        Metric("macro_f1", "macro-F1", macro_f1, key="f1"),
        Metric("loss", "loss", loss, higher_is_better=False),
        Metric("balanced_accuracy", "balanced accuracy", balanced_accuracy, "%"),
        Metric("top5_accuracy", "top-5 accuracy", top5_accuracy, "%"),
        Metric("auroc", "AUROC", auroc),
    )
}


def compute_metrics(predictions: Predictions) -> dict[str, float]:
    """Return the values of all metrics that are defined, by name."""
    values = {name: metric.of(predictions) for name, metric in METRICS.items()}
    return {name: value for name, value in values.items() if value is not None}


def confusion_matrix(predictions: Predictions) -> npt.NDArray[np.int64]:
    """Return counts [classes, classes]: rows are true classes, columns predicted classes."""
    classes = predictions.probabilities.shape[1]
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (predictions.targets, predictions.probabilities.argmax(1)), 1)
    return matrix


def class_totals(confusion: npt.NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """Return hits, true and predicted images by class [classes]."""
    hits = np.diag(confusion).astype(float)
    return hits, confusion.sum(axis=1).astype(float), confusion.sum(axis=0).astype(float)


def f1_scores(hits: Floats, actual: Floats, predicted: Floats) -> Floats:
    """Return the F1 score of each class; arguments are [..., classes], an absent class has 0."""
    scores: Floats = 2 * hits / np.maximum(actual + predicted, 1)
    return scores


def class_results(
    confusion: npt.NDArray[np.int64], classes: Sequence[str], seeds: int = 1
) -> tuple[ClassResult, ...]:
    """Return the metrics of each class; `confusion` is summed over `seeds` evaluations.

    A class without true or predicted images has 0, like in scikit-learn with `zero_division=0`.
    """
    hits, actual, predicted = class_totals(confusion)
    precision, recall = hits / np.maximum(predicted, 1), hits / np.maximum(actual, 1)
    columns = (actual // seeds).astype(int), precision, recall, f1_scores(hits, actual, predicted)
    values = zip(*(column.tolist() for column in columns), strict=True)
    return tuple(ClassResult(label, *own) for label, own in zip(classes, values, strict=True))
