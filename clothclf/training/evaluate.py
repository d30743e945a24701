"""Predict one split with a trained model, and evaluate the predictions."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from clothclf.data.batches import ImageBatches
from clothclf.models.classifier import Classifier
from clothclf.models.features import BackboneFeatures
from clothclf.results import Evaluation, Predictions
from clothclf.training.metrics import class_results, compute_metrics, confusion_matrix


@torch.inference_mode()
def predict(
    classifier: Classifier,
    images: ImageBatches,
    split: str,
    cache: Path | None = None,
    features: BackboneFeatures | None = None,
) -> Predictions:
    """Predict the class probabilities of every image of a split, without augmentation.

    The `features` of a deterministic backbone are cached in `cache` if not given.
    """
    classifier.to(images.device).eval()
    if classifier.backbone_is_deterministic():
        features = features or BackboneFeatures(classifier, images, cache)
        probabilities = classifier.head(features.of(split)[0]).softmax(1).cpu()
    else:
        parts = [classifier(inputs).softmax(1).cpu() for inputs, _ in images.in_order(split)]
        probabilities = torch.cat(parts)
    part = images.splits[split]
    return Predictions(part.ids, part.targets, probabilities.numpy())


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
