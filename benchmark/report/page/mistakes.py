"""Images of the HTML report: those all architectures misclassify, and those only one gets right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.report.analysis import Analysis, TestImage, all_wrong, only_right
from benchmark.report.charts.shared import names_of
from benchmark.report.page.thumbnails import Thumbnails

MAX_IMAGES_SHOWN = 24
"""Maximum images of one group."""
MAX_IN_ALL = 240
"""Maximum images of one comparison, to keep the page small enough to send."""
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


def image_groups(analysis: Analysis) -> ImageGroups | None:
    """Images on which architectures fail or differ; None without saved predictions."""
    if analysis.test is None or not analysis.comparison.records:
        return None
    thumbnails = Thumbnails(analysis.comparison.records[0].spec.pixels)
    left = MAX_IN_ALL
    wrong = _group("Misclassified by all architectures", all_wrong(analysis), thumbnails, left)
    left -= len(wrong.shown)
    names = names_of(analysis.rows)
    groups = []
    for place, images in only_right(analysis).items():
        if images:
            groups.append(_group(names[place], images, thumbnails, left))
            left -= len(groups[-1].shown)
    return ImageGroups(thumbnails.error, wrong, tuple(groups))


def _group(title: str, images: Sequence[TestImage], thumbnails: Thumbnails, left: int) -> Group:
    chosen = images[: max(0, min(MAX_IMAGES_SHOWN, left))]
    return Group(
        title,
        len(images),
        tuple(
            Shown(item.id, item.label, thumbnails.uri(item), _by_answer(item)) for item in chosen
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
