"""Evaluate predictions. Does not import torch."""

from __future__ import annotations

import pandas as pd

from clothclf.results import Evaluation, Predictions
from clothclf.training.metrics import class_results, compute_metrics, confusion_matrix


def evaluate(predictions: Predictions, classes: tuple[str, ...]) -> Evaluation:
    """Compute the metrics, the metrics of each class and the confusion matrix."""
    confusion = confusion_matrix(predictions)
    return Evaluation(
        images=len(predictions.ids),
        metrics=compute_metrics(predictions),
        per_class=class_results(confusion, classes),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def predictions_table(predictions: Predictions, classes: tuple[str, ...]) -> pd.DataFrame:
    """Return one row per image: id, label, answer (the prediction), and `p/<class>` per class."""
    predicted = predictions.probabilities.argmax(1)
    table = pd.DataFrame(
        {
            "id": predictions.ids,
            "label": [classes[number] for number in predictions.targets],
            "answer": [classes[number] for number in predicted],
        }
    )
    columns = [f"p/{label}" for label in classes]
    shares = pd.DataFrame(predictions.probabilities, columns=columns)
    joined: pd.DataFrame = table.join(shares)
    return joined
