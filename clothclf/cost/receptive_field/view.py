"""What the places of one tensor depend on: the reach in pixels, and what made it global."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from clothclf.cost.receptive_field.layout import SPATIAL, Axis, Dim, length_of


class Interval(NamedTuple):
    """Pixels that the first place of an axis depends on, from `start` up to but without `end`."""

    start: int
    end: int

    def widened(self, before: int, after: int) -> Interval:
        """With more pixels at either side."""
        return Interval(self.start - before, self.end + after)

    def moved(self, pixels: int) -> Interval:
        """The same interval elsewhere."""
        return Interval(self.start + pixels, self.end + pixels)

    def joined(self, other: Interval) -> Interval:
        """The smallest interval that holds both."""
        return Interval(min(self.start, other.start), max(self.end, other.end))


@dataclass(frozen=True)
class View:
    """How one tensor sees the image."""

    dims: tuple[Dim, ...]
    """What each of its dimensions runs over."""
    reach: dict[Axis, Interval]
    """Along height and width, without what sees everything."""
    everything: dict[Axis, str] = field(default_factory=dict)
    """By axis, the first part through which a place sees all of it."""
    windowed: bool = False
    """Attention within windows fed it, whose reach is not followed."""
    inexact: bool = False
    """Something fed it whose reach is not known."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the dimensions."""
        return tuple(length_of(dim) for dim in self.dims)

    @property
    def global_by(self) -> str:
        """The first part that shows a place the whole image; empty where none does."""
        if any(axis not in self.everything for axis in SPATIAL):
            return ""
        return self.everything["height"]

    def has_places(self) -> bool:
        """Whether any dimension runs over places."""
        return any(run.axis != "channel" and run.length > 1 for dim in self.dims for run in dim)

    def with_dims(self, dims: Iterable[Dim]) -> View:
        """The same dependence in another layout."""
        return replace(self, dims=tuple(dims))

    def widened(self, axis: Axis, before: int, after: int) -> View:
        """With more pixels at either side of each place."""
        reach = {**self.reach, axis: self.reach[axis].widened(before, after)}
        return replace(self, reach=reach)

    def moved(self, axis: Axis, pixels: int) -> View:
        """With another place as the first."""
        return replace(self, reach={**self.reach, axis: self.reach[axis].moved(pixels)})

    def seeing_all(self, axis: Axis, part: str) -> View:
        """Every place sees the whole axis through `part`."""
        return replace(self, everything={axis: part, **self.everything})

    def unknown(self, dims: Iterable[Dim]) -> View:
        """After something whose reach is not known."""
        return replace(self, dims=tuple(dims), inexact=True)

    def joined(self, other: View) -> View:
        """What depends on both, in this one's layout.

        A tensor whose places were all pooled away adds what it saw as a whole, and no reach.
        """
        reach = self.reach
        if other.has_places():
            reach = {axis: self.reach[axis].joined(other.reach[axis]) for axis in SPATIAL}
            if not self.has_places():
                reach = other.reach
        return replace(
            self,
            reach=reach,
            everything={**other.everything, **self.everything},
            windowed=self.windowed or other.windowed,
            inexact=self.inexact or other.inexact,
        )
