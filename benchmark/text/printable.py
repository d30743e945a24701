"""Format names and times for terminals."""

from __future__ import annotations

import math

from rich.cells import cell_len, set_cell_size

MAX_TAIL = 8


def printable(text: str) -> str:
    """Escape control characters and line breaks, so that text is safe to print."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shorten(text: str, width: int, ellipsis: str = "…") -> str:
    """Shorten a name in the middle to at most `width` cells, which keeps a run's seed."""
    if cell_len(text) <= width:
        return text
    room = max(0, width - len(ellipsis))
    end = text[len(text) - min(room // 3, MAX_TAIL) :]
    start = set_cell_size(text, max(0, room - cell_len(end))).rstrip()
    return set_cell_size(start + ellipsis + end, width).rstrip()


def clock(seconds: float) -> str:
    """Format a time in at most seven characters: `0:45`, `3:20:00`, `12h 05m`, `4d 03h`."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours >= 100:
        return f"{hours // 24}d {hours % 24:02}h"
    if hours >= 10:
        return f"{hours}h {minutes:02}m"
    if hours:
        return f"{hours}:{minutes:02}:{whole % 60:02}"
    return f"{minutes}:{whole % 60:02}"


def roughly(seconds: float) -> str:
    """Format an estimated time, rounded up to 5 seconds, a minute or 5 minutes."""
    step = 5 if seconds <= 55 else 60 if seconds <= 3540 else 300
    rounded = step * math.ceil(max(1.0, seconds) / step)
    hours, minutes = rounded // 3600, rounded % 3600 // 60
    if not hours:
        return f"{minutes} min" if minutes else f"{rounded} s"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
