"""View: what the positions of a tensor depend on, in pixels, and what made it global."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from clothclf.cost.receptive_field.layout import SPATIAL, Axis, Dim, length_of


class Interval(NamedTuple):
    """Half-open range [start, end) of pixels that the first position of an axis depends on."""

    start: int
    end: int

    def widened(self, before: int, after: int) -> Interval:
        """Extend the interval at both sides."""
        return Interval(self.start - before, self.end + after)

    def moved(self, pixels: int) -> Interval:
        """Shift the interval."""
        return Interval(self.start + pixels, self.end + pixels)

    def joined(self, other: Interval) -> Interval:
        """Return the smallest interval that contains both."""
        return Interval(min(self.start, other.start), max(self.end, other.end))


@dataclass(frozen=True)
class View:
    """Dependence of one tensor on the image."""

    dims: tuple[Dim, ...]
    """Layout of each dimension."""
    extent: dict[Axis, Interval]
    """Reach along height and width, excluding parts that see everything."""
    everything: dict[Axis, str] = field(default_factory=dict)
    """First part through which a position sees the whole axis, by axis."""
    windowed: bool = False
    """Whether it depends on windowed attention, whose extent is not tracked."""
    inexact: bool = False
    """Whether it depends on an operator whose extent is unknown."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(length_of(dim) for dim in self.dims)

    @property
    def global_by(self) -> str:
        """First part through which a position sees the whole image; empty if none."""
        if any(axis not in self.everything for axis in SPATIAL):
            return ""
        return self.everything["height"]

    def is_spatial(self) -> bool:
        """Return whether any dimension runs over positions."""
        return any(run.axis != "channel" and run.length > 1 for dim in self.dims for run in dim)

    def with_dims(self, dims: Iterable[Dim]) -> View:
        """Return the same dependence in another layout."""
        return replace(self, dims=tuple(dims))

    def widened(self, axis: Axis, before: int, after: int) -> View:
        """Extend the extent of each position at both sides."""
        extent = {**self.extent, axis: self.extent[axis].widened(before, after)}
        return replace(self, extent=extent)

    def moved(self, axis: Axis, pixels: int) -> View:
        """Shift the extent, to start at another position."""
        return replace(self, extent={**self.extent, axis: self.extent[axis].moved(pixels)})

    def seeing_all(self, axis: Axis, part: str) -> View:
        """Mark every position as seeing the whole axis through `part`."""
        return replace(self, everything={axis: part, **self.everything})

    def unknown(self, dims: Iterable[Dim]) -> View:
        """Mark the view as inexact, after an operator whose extent is unknown."""
        return replace(self, dims=tuple(dims), inexact=True)

    def joined(self, other: View) -> View:
        """Join the dependence on both tensors, in this one's layout.

        A tensor without remaining positions adds what it sees as a whole, but no extent.
        """
        extent = self.extent
        if other.is_spatial():
            extent = {axis: self.extent[axis].joined(other.extent[axis]) for axis in SPATIAL}
            if not self.is_spatial():
                extent = other.extent
        return replace(
            self,
            extent=extent,
            everything={**other.everything, **self.everything},
            windowed=self.windowed or other.windowed,
            inexact=self.inexact or other.inexact,
        )
