"""The HTML report's images: what every architecture gets wrong, and what only one gets right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.report.analysis import Analysis, TestImage, all_wrong, only_right
from benchmark.report.charts.shared import names_of
from benchmark.report.page.thumbnails import Thumbnails

MAX_IMAGES_SHOWN = 24
"""Of one kind."""
MAX_IN_ALL = 240
"""Of one comparison: a page with many architectures must stay one that can be sent around."""
NAMED = 3
"""Architectures with the same answer that are named; more are counted."""


@dataclass(frozen=True)
class Shown:
    """One image of the page."""

    id: str
    label: str
    uri: str
    """Data URI; empty where the image is not in the array."""
    answers: tuple[tuple[str, str], ...]
    """An answer and who gave it."""


@dataclass(frozen=True)
class Group:
    """Images of one kind."""

    title: str
    count: int
    """How many there are, shown or not."""
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class Pictures:
    """All that is shown of the test images of one comparison."""

    fault: str
    """Why there are none to see; empty else."""
    wrong: Group
    right: tuple[Group, ...]


def image_groups(analysis: Analysis) -> Pictures | None:
    """The images that say something about the architectures; None without saved answers."""
    if analysis.test is None or not analysis.comparison.records:
        return None
    thumbnails = Thumbnails(analysis.comparison.records[0].spec.pixels)
    left = MAX_IN_ALL
    wrong = _group("Wrong by every architecture", all_wrong(analysis), thumbnails, left)
    left -= len(wrong.shown)
    names = names_of(analysis.rows)
    groups = []
    for place, found in only_right(analysis).items():
        if found:
            groups.append(_group(names[place], found, thumbnails, left))
            left -= len(groups[-1].shown)
    return Pictures(thumbnails.fault, wrong, tuple(groups))


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
