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

    fault: str
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
    for place, found in only_right(analysis).items():
        if found:
            groups.append(_group(names[place], found, thumbnails, left))
            left -= len(groups[-1].shown)
    return ImageGroups(thumbnails.fault, wrong, tuple(groups))


def _group(title: str, found: Sequence[TestImage], thumbnails: Thumbnails, left: int) -> Group:
    chosen = found[: max(0, min(MAX_IMAGES_SHOWN, left))]
    return Group(
        title,
        len(found),
        tuple(
            Shown(item.id, item.label, thumbnails.uri(item), _by_answer(item)) for item in chosen
        ),
    )


def _by_answer(image: TestImage) -> tuple[tuple[str, str], ...]:
    who: dict[str, list[str]] = {}
    for name, answer in image.answers:
        who.setdefault(answer, []).append(name)
    found = sorted(who.items(), key=lambda item: -len(item[1]))
    if len(found) == 1 and len(image.answers) > 1:
        return ((found[0][0], "all"),)
    return tuple(
        (answer, ", ".join(names) if len(names) <= NAMED else f"{len(names)} architectures")
        for answer, names in found
    )
