"""Answers of a trained model for one split, and what they are worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from clothclf.data.batches import ImageBatches
from clothclf.models.classifier import Classifier
from clothclf.models.features import BackboneFeatures
from clothclf.results import ClassResult, Evaluation, Predictions


@torch.inference_mode()
def predict(
    classifier: Classifier, images: ImageBatches, split: str, cache: Path | None = None
) -> Predictions:
    """Class probabilities for every image of a split, unaugmented.

    Features of a deterministic body are kept below `cache`, and found there.
    """
    classifier.to(images.device).eval()
    if classifier.backbone_is_deterministic():
        features = BackboneFeatures(classifier, images, cache).of(split)[0]
        probabilities = classifier.head(features).softmax(1).cpu()
    else:
        parts = [classifier(inputs).softmax(1).cpu() for inputs, _ in images.in_order(split)]
        probabilities = torch.cat(parts)
    part = images.splits[split]
    return Predictions(part.ids, part.targets, probabilities.numpy())


def evaluate(predictions: Predictions, classes: tuple[str, ...]) -> Evaluation:
    """Accuracy, macro-F1, per-class results and the confusion matrix.

    A class without a true or answered image counts with an F1 of 0, as scikit-learn has it.
    """
    confusion = confusion_matrix(predictions, len(classes))
    hits = np.diag(confusion).astype(float)
    actual, answered = confusion.sum(1), confusion.sum(0)
    precision = hits / np.maximum(answered, 1)
    recall = hits / np.maximum(actual, 1)
    f1 = 2 * hits / np.maximum(actual + answered, 1)
    right = predictions.probabilities[np.arange(len(predictions.ids)), predictions.targets]
    return Evaluation(
        images=len(predictions.ids),
        loss=float(-np.log(np.maximum(right.astype(float), 1e-30)).mean()),
        accuracy=float(hits.sum() / len(predictions.ids)),
        macro_f1=float(f1.mean()),
        per_class=tuple(
            ClassResult(label, int(actual[i]), float(precision[i]), float(recall[i]), float(f1[i]))
            for i, label in enumerate(classes)
        ),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def confusion_matrix(predictions: Predictions, classes: int) -> npt.NDArray[np.int64]:
    """Counts [classes, classes]: rows are true classes, columns answers."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (predictions.targets, predictions.probabilities.argmax(1)), 1)
    return matrix


def predictions_table(predictions: Predictions, classes: tuple[str, ...]) -> pd.DataFrame:
    """A row for each image: id, label, answer, and each class's probability as `p/<class>`."""
    answers = predictions.probabilities.argmax(1)
    table = pd.DataFrame(
        {
            "id": predictions.ids,
            "label": [classes[number] for number in predictions.targets],
            "answer": [classes[number] for number in answers],
        }
    )
    columns = [f"p/{label}" for label in classes]
    shares = pd.DataFrame(predictions.probabilities, columns=columns)
    joined: pd.DataFrame = table.join(shares)
    return joined
