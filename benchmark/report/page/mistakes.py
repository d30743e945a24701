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
    answers: tuple[tuple[str, str], ...]
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
    for place, images in only_right(analysis).items():
        if images:
            groups.append(_group(names[place], images, thumbnails, doubts, left))
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
                _by_answer(item),
                doubts.get(item.id, ""),
            )
            for item in chosen
        ),
    )


def _by_answer(image: TestImage) -> tuple[tuple[str, str], ...]:
    names_by_answer: dict[str, list[str]] = {}
    for name, answer in image.answers:
        names_by_answer.setdefault(answer, []).append(name)
    predictions = sorted(names_by_answer.items(), key=lambda item: -len(item[1]))
    if len(predictions) == 1 and len(image.answers) > 1:
        return ((predictions[0][0], "all"),)
    return tuple(
        (answer, ", ".join(names) if len(names) <= NAMED else f"{len(names)} architectures")
        for answer, names in predictions
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
    places = [place for place, predictions in enumerate(analysis.answers) if predictions]
    answers = np.stack([analysis.answers[place][0].answers for place in places])
    sure = np.stack([analysis.answers[place][0].probabilities.max(axis=1) for place in places])
    chosen: dict[int, None] = {}
    for number in _most_confident(analysis, places, first, answers, sure):
        chosen[number] = None
        if len(chosen) == MAX_BEHIND_CONFUSIONS:
            break
    mask = np.zeros(len(test), dtype=bool)
    mask[list(chosen)] = True
    return [
        {
            "id": image.id,
            "label": int(test.labels[number]),
            "answers": answers[:, number].tolist(),
            "sure": (100 * sure[:, number]).round().astype(int).tolist(),
            "doubt": doubts.get(image.id, ""),
            "uri": "" if image.id in embedded else thumbnails.uri(image),
        }
        for number, image in zip(np.flatnonzero(mask), images_of(analysis, mask), strict=True)
    ]


def _most_confident(
    analysis: Analysis,
    places: Sequence[int],
    first: int | None,
    answers: npt.NDArray[np.int64],
    sure: npt.NDArray[np.float32],
) -> Iterator[int]:
    """Indices of images in the order in which they are worth their space.

    First those of the row shown first, for each of its confusions, then those of the most
    frequent confusions of the other rows; the most confident of a confusion first.
    """
    test = analysis.test
    if test is None:
        return
    order = sorted(range(len(places)), key=lambda own: places[own] != first)
    for own in order:
        figures = analysis.statistics[places[own]]
        if figures is None:
            continue
        wrong = figures.confusion.copy()
        np.fill_diagonal(wrong, 0)
        cells = np.argwhere(wrong)
        cells = cells[np.argsort(-wrong[tuple(cells.T)], kind="stable")]
        is_first = places[own] == first
        most = MAX_OF_PICK if is_first else MAX_OF_OTHERS
        for actual, answer in cells if is_first else cells[:HARDEST]:
            found = np.flatnonzero((test.labels == actual) & (answers[own] == answer))
            yield from found[np.argsort(-sure[own][found], kind="stable")][:most].tolist()
