"""Predict one split with a trained model, and evaluate the predictions."""

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
    """Predict the class probabilities of every image of a split, without augmentation.

    Features of a deterministic backbone are cached in `cache`.
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
    """Compute accuracy, macro F1, per-class metrics and the confusion matrix.

    A class without true or predicted images has an F1 of 0, like in scikit-learn.
    """
    confusion = confusion_matrix(predictions, len(classes))
    hits = np.diag(confusion).astype(float)
    actual, predicted = confusion.sum(1), confusion.sum(0)
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(actual, 1)
    f1 = 2 * hits / np.maximum(actual + predicted, 1)
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
    """Return counts [classes, classes]: rows are true classes, columns predicted classes."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (predictions.targets, predictions.probabilities.argmax(1)), 1)
    return matrix


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
