"""Find suspected label errors with out-of-fold predictions and confident learning.

Every image is predicted by a head that was trained on the other folds. Confident learning
(Northcutt, Jiang and Chuang 2021, arXiv:1911.00068) decides which predictions override a label:
those whose probability is at least the class's mean probability over images with its label.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from clothclf.models.classifier import Standardize

FOLDS = 5
PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""L2 penalties to try; the one with the lowest loss on the first fold is used."""
MAX_STEPS = 100
"""Maximum number of L-BFGS iterations per fit."""


def assign_folds(
    labels: npt.NDArray[np.int64], groups: Sequence[object], seed: int, folds: int = FOLDS
) -> npt.NDArray[np.int64]:
    """Assign a fold, 0 to `folds` - 1, to each image [n]: stratified, by group, and seeded.

    A group with several labels counts as its most frequent one.
    """
    frame = pd.DataFrame({"group": pd.factorize(np.asarray(groups, dtype=object))[0]})
    frame["label"] = labels
    counts = frame.value_counts(["group", "label"]).reset_index()
    home = counts.sort_values(["count", "label"], ascending=[False, True]).drop_duplicates("group")
    sizes = frame["group"].value_counts()
    order = np.random.default_rng(seed).permutation(len(home))
    drawn = home.sort_values("group").iloc[order]
    drawn = drawn.assign(size=drawn["group"].map(sizes)).sort_values(
        "size", ascending=False, kind="stable"
    )
    by_class: dict[int, list[int]] = {}
    total = [0] * folds
    chosen: dict[int, int] = {}
    for group, label, size in drawn[["group", "label", "size"]].itertuples(index=False, name=None):
        own = by_class.setdefault(label, [0] * folds)
        fold = min(range(folds), key=lambda fold: (own[fold], total[fold], fold))
        own[fold] += size
        total[fold] += size
        chosen[group] = fold
    assigned: npt.NDArray[np.int64] = frame["group"].map(chosen).to_numpy(dtype=np.int64)
    return assigned


def out_of_fold(
    features: Tensor, labels: npt.NDArray[np.int64], folds: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Predict probabilities [n, classes] of each image by a head trained on the other folds.

    The head is a multinomial logistic regression on `features`, float32 [n, features], which are
    standardized in place. `labels` are class numbers [n], `folds` the result of `assign_folds`.
    """
    layer = Standardize(features.shape[1]).to(features.device)
    layer.fit(features)
    features.sub_(layer.mean).mul_(layer.scale)
    targets = torch.tensor(labels, device=features.device)
    fold = torch.tensor(folds, device=features.device)
    classes = int(labels.max()) + 1
    first = fold == 0
    best, penalty, start = float("inf"), PENALTIES[0], _zeros(features, classes)
    for tried in PENALTIES:
        weights = _fit(features, targets, ~first, tried, start)
        loss = float(functional.cross_entropy(_scores(features[first], weights), targets[first]))
        if loss < best:
            best, penalty, start = loss, tried, weights
        else:
            break
    predicted = torch.empty(len(labels), classes, device=features.device)
    for number in range(int(folds.max()) + 1):
        own = fold == number
        # Start from zeros: a warm start from a head trained on this fold would leak its labels.
        weights = (
            _fit(features, targets, ~own, penalty, _zeros(features, classes)) if number else start
        )
        predicted[own] = _scores(features[own], weights).softmax(1)
    probabilities: npt.NDArray[np.float32] = predicted.cpu().numpy()
    return probabilities


def _zeros(features: Tensor, classes: int) -> Tensor:
    return torch.zeros(features.shape[1] + 1, classes, device=features.device)


def _scores(features: Tensor, weights: Tensor) -> Tensor:
    return features @ weights[:-1] + weights[-1]


def _fit(features: Tensor, targets: Tensor, seen: Tensor, penalty: float, start: Tensor) -> Tensor:
    """Fit weights [features + 1, classes] to the images in `seen`."""
    weights = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weights],
        max_iter=MAX_STEPS,
        tolerance_grad=1e-4,
        tolerance_change=1e-5,
        line_search_fn="strong_wolfe",
    )
    share = seen.float() / seen.sum()

    def loss() -> Tensor:
        optimizer.zero_grad()
        losses = functional.cross_entropy(_scores(features, weights), targets, reduction="none")
        value = (losses * share).sum() + penalty / 2 * weights[:-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach()


def find_suspects(
    probabilities: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    folds: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Return the indices of images with suspected label errors, the most suspicious first.

    Ranked by the probability of the label, lowest first (self-confidence), which still separates
    labels where the difference to the predicted class is close to 1 for all.
    Labels that occur in only one fold are never suspected, since their heads never saw them.
    """
    count = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels]
    held = np.bincount(labels, minlength=count)
    # Mean probability of each class over its own images; infinite for a class without images.
    threshold = np.full(count, np.inf)
    with np.errstate(invalid="ignore"):
        means = np.bincount(labels, weights=own, minlength=count) / held
    threshold[held > 0] = means[held > 0]
    confident = np.where(probabilities >= threshold, probabilities, -1.0)
    predicted = confident.argmax(axis=1)
    others = {label for label in range(count) if len(np.unique(folds[labels == label])) > 1}
    learnt = np.isin(labels, list(others))
    doubted = (confident.max(axis=1) > own) & (predicted != labels) & learnt
    indices = np.flatnonzero(doubted)
    ranked: npt.NDArray[np.int64] = indices[np.argsort(own[indices], kind="stable")]
    return ranked


def suspects_table(
    manifest: pd.DataFrame,
    classes: Sequence[str],
    probabilities: npt.NDArray[np.float32],
    suspects: npt.NDArray[np.int64],
) -> pd.DataFrame:
    """Return one row per suspect: rank, id, label, suggested, p_label, p_suggested, split.

    `manifest` has the images in the order of `probabilities`; `p_label` is the probability of the
    image's own label.
    """
    rows = manifest.iloc[suspects].reset_index(drop=True)
    numbers = {label: number for number, label in enumerate(classes)}
    own = rows["label"].map(numbers).to_numpy(dtype=np.int64)
    shares = probabilities[suspects].astype(float)
    at = np.arange(len(suspects))
    p_label = shares[at, own]
    shares[at, own] = -1.0
    predicted = shares.argmax(axis=1) if len(suspects) else np.zeros(0, dtype=np.int64)
    table: pd.DataFrame = pd.DataFrame(
        {
            "rank": at + 1,
            "id": rows["id"].astype(str),
            "label": rows["label"],
            "suggested": [classes[number] for number in predicted],
            "p_label": p_label.round(6),
            "p_suggested": shares[at, predicted].round(6) if len(suspects) else [],
            "split": rows["split"],
        }
    )
    return table
