"""Mistakes of the HTML report: groups of images, and the images behind each confusion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.report.analysis import HARDEST, Analysis, TestImage, all_wrong, images_of, only_right
from benchmark.report.charts.shared import names_of
from benchmark.report.page.thumbnails import Thumbnails

MAX_IMAGES_SHOWN = 24
"""Maximum images of one group."""
MAX_IN_ALL = 240
"""Maximum images of all groups of one comparison, to keep the page small enough to send."""
MAX_OF_PICK = 8
"""Maximum images of one confusion of the architecture that is shown first."""
MAX_OF_OTHERS = 6
"""Maximum images of one of the most frequent confusions of another architecture."""
MAX_BEHIND_CONFUSIONS = 300
"""Maximum images behind confusions of one comparison."""
NAMED = 3
"""Maximum architectures with the same prediction to name; more are counted."""


@dataclass(frozen=True)
class Shown:
    """One image of the page."""

    id: str
    label: str
    uri: str
    """Data URI; empty if the image is not in the cache."""
    predictions: tuple[tuple[str, str], ...]
    """Predicted classes with the architectures that predict them."""
    doubt: str
    """Class that an audit suggests instead of the label; empty without doubt."""


@dataclass(frozen=True)
class Group:
    """A group of images."""

    title: str
    count: int
    """Number of images in the group, shown or not."""
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class ImageGroups:
    """Test images to show for one comparison."""

    error: str
    """Reason why images cannot be shown, else empty."""
    wrong: Group
    right: tuple[Group, ...]
    behind: list[dict[str, Any]]
    """Images behind the confusions as JSON values, for the page's script."""


def image_groups(analysis: Analysis, first: int | None) -> ImageGroups | None:
    """Images on which architectures fail or differ; None without saved predictions.

    `first` is the index of the row whose confusions are shown first.
    """
    if analysis.test is None or not analysis.comparison.records:
        return None
    thumbnails = Thumbnails(analysis.comparison.pixels)
    doubts = doubted_labels(analysis)
    left = MAX_IN_ALL
    wrong = _group(
        "Misclassified by all architectures", all_wrong(analysis), thumbnails, doubts, left
    )
    left -= len(wrong.shown)
    names = names_of(analysis.rows)
    groups = []
    for index, images in only_right(analysis).items():
        if images:
            groups.append(_group(names[index], images, thumbnails, doubts, left))
            left -= len(groups[-1].shown)
    embedded = {item.id for group in (wrong, *groups) for item in group.shown if item.uri}
    behind = _behind_confusions(analysis, first, thumbnails, doubts, embedded)
    return ImageGroups(thumbnails.error, wrong, tuple(groups), behind)


def doubted_labels(analysis: Analysis) -> dict[str, str]:
    """Suggested class by image id, for labels that an audit of the same data suspects."""
    if analysis.without is None:
        return {}
    return {item.id: item.suggested for item in analysis.without.audit.suspects}


def _group(
    title: str,
    images: Sequence[TestImage],
    thumbnails: Thumbnails,
    doubts: dict[str, str],
    left: int,
) -> Group:
    chosen = images[: max(0, min(MAX_IMAGES_SHOWN, left))]
    return Group(
        title,
        len(images),
        tuple(
            Shown(
                item.id,
                item.label,
                thumbnails.uri(item),
                _by_prediction(item),
                doubts.get(item.id, ""),
            )
            for item in chosen
        ),
    )


def _by_prediction(image: TestImage) -> tuple[tuple[str, str], ...]:
    names_by_label: dict[str, list[str]] = {}
    for name, label in image.predictions:
        names_by_label.setdefault(label, []).append(name)
    by_class = sorted(names_by_label.items(), key=lambda item: -len(item[1]))
    if len(by_class) == 1 and len(image.predictions) > 1:
        return ((by_class[0][0], "all"),)
    return tuple(
        (label, ", ".join(names) if len(names) <= NAMED else f"{len(names)} architectures")
        for label, names in by_class
    )


def _behind_confusions(
    analysis: Analysis,
    first: int | None,
    thumbnails: Thumbnails,
    doubts: dict[str, str],
    embedded: set[str],
) -> list[dict[str, Any]]:
    """Images behind confusions: label, prediction and confidence of each row with predictions.

    Predictions are those of the first seed. An image of `embedded` is in the page already, and
    has no data URI here.
    """
    test = analysis.test
    if test is None:
        return []
    indices = [index for index, predictions in enumerate(analysis.predictions) if predictions]
    predicted = np.stack([analysis.predictions[index][0].predicted for index in indices])
    sure = np.stack([analysis.predictions[index][0].probabilities.max(axis=1) for index in indices])
    chosen: dict[int, None] = {}
    for number in _most_confident(analysis, indices, first, predicted, sure):
        chosen[number] = None
        if len(chosen) == MAX_BEHIND_CONFUSIONS:
            break
    mask = np.zeros(len(test), dtype=bool)
    mask[list(chosen)] = True
    return [
        {
            "id": image.id,
            "label": int(test.labels[number]),
            "predictions": predicted[:, number].tolist(),
            "sure": (100 * sure[:, number]).round().astype(int).tolist(),
            "doubt": doubts.get(image.id, ""),
            "uri": "" if image.id in embedded else thumbnails.uri(image),
        }
        for number, image in zip(np.flatnonzero(mask), images_of(analysis, mask), strict=True)
    ]


def _most_confident(
    analysis: Analysis,
    indices: Sequence[int],
    first: int | None,
    predicted: npt.NDArray[np.int64],
    sure: npt.NDArray[np.float32],
) -> Iterator[int]:
    """Indices of images in the order in which they are worth their space.

    First those of the row shown first, for each of its confusions, then those of the most
    frequent confusions of the other rows; the most confident of a confusion first.
    """
    test = analysis.test
    if test is None:
        return
    order = sorted(range(len(indices)), key=lambda own: indices[own] != first)
    for own in order:
        figures = analysis.statistics[indices[own]]
        if figures is None:
            continue
        wrong = figures.confusion.copy()
        np.fill_diagonal(wrong, 0)
        cells = np.argwhere(wrong)
        cells = cells[np.argsort(-wrong[tuple(cells.T)], kind="stable")]
        is_first = indices[own] == first
        maximum = MAX_OF_PICK if is_first else MAX_OF_OTHERS
        for actual, guess in cells if is_first else cells[:HARDEST]:
            rows = np.flatnonzero((test.labels == actual) & (predicted[own] == guess))
            yield from rows[np.argsort(-sure[own][rows], kind="stable")][:maximum].tolist()
