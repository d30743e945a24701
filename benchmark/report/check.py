"""Check a written report: every number in it is derived again from the store and compared."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

NUMBER = re.compile(r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?")
AROUND = 30
"""Characters shown on either side of what differs."""
MAX_WORDS = 2000
"""Of a line's differing part that is compared word by word; longer ones differ as a whole."""


@dataclass(frozen=True)
class Difference:
    """A place where the written report is not what the store gives."""

    line: int
    """Of the written report, counted from 1."""
    written: str
    """What stands there; empty where a line is missing."""
    derived: str
    """What the store gives; empty where nothing like it does."""
    context: str

    def __str__(self) -> str:
        written, derived = self.written or "nothing", self.derived or "nothing of the kind"
        return f"line {self.line}: says {written}, the store gives {derived} (in: {self.context})"


def differences(written: str, derived: str) -> list[Difference]:
    """Where two texts of one report differ, number by number, in order of the written one's lines.

    Line ends and white space at them do not count.
    """
    ours = [line.rstrip() for line in written.splitlines()]
    theirs = [line.rstrip() for line in derived.splitlines()]
    while ours and not ours[-1]:
        ours.pop()
    while theirs and not theirs[-1]:
        theirs.pop()
    found: list[Difference] = []
    matcher = difflib.SequenceMatcher(a=ours, b=theirs, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            continue
        common = min(b - a, d - c)
        for place in range(common):
            found += _in_line(a + place + 1, ours[a + place], theirs[c + place])
        for place in range(a + common, b):
            found.append(Difference(place + 1, _short(ours[place]), "", _short(ours[place])))
        for place in range(c + common, d):
            found.append(Difference(b, "", _short(theirs[place]), _short(theirs[place])))
    return found


def count_numbers(text: str) -> int:
    """How many numbers a text holds."""
    return len(NUMBER.findall(text))


def _in_line(number: int, ours: str, theirs: str) -> list[Difference]:
    """Differences within two lines that stand for each other."""
    our_words, their_words = _words(ours), _words(theirs)
    start = _alike(our_words, their_words)
    end = _alike(our_words[start:][::-1], their_words[start:][::-1])
    our_part = our_words[start : len(our_words) - end]
    their_part = their_words[start : len(their_words) - end]
    codes: Sequence[tuple[str, int, int, int, int]]
    codes = [("replace", 0, len(our_part), 0, len(their_part))]
    if max(len(our_part), len(their_part)) <= MAX_WORDS:
        codes = difflib.SequenceMatcher(a=our_part, b=their_part, autojunk=False).get_opcodes()
    found = []
    for tag, a, b, c, d in codes:
        if tag != "equal":
            before = "".join(our_words[max(0, start + a - AROUND) : start + a])
            after = "".join(our_words[start + b : start + b + AROUND])
            written, derived = "".join(our_part[a:b]), "".join(their_part[c:d])
            context = f"{before[-AROUND:]}{_short(written)}{after[:AROUND]}".strip()
            found.append(Difference(number, _short(written), _short(derived), context))
    return found


def _alike(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """How many words both begin with."""
    count = 0
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            break
        count += 1
    return count


def _words(line: str) -> list[str]:
    """A line cut into its numbers and what stands between them."""
    words, end = [], 0
    for match in NUMBER.finditer(line):
        words += [line[end : match.start()], match[0]]
        end = match.end()
    return [word for word in [*words, line[end:]] if word]


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 80 else f"{text[:80]}…"
