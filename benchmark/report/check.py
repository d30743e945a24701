"""Check a written report: derive every number again from the store and compare."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

NUMBER = re.compile(r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?")
AROUND = 30
"""Characters of context shown on either side of a difference."""
MAX_WORDS = 2000
"""Maximum words of a differing part to compare word by word; longer parts differ as a whole."""


@dataclass(frozen=True)
class Difference:
    """A place where the written report disagrees with the store."""

    line: int
    """Line number in the written report, starting at 1."""
    written: str
    """Text in the report; empty if the line is missing."""
    derived: str
    """Text derived from the store; empty if there is no counterpart."""
    context: str

    def __str__(self) -> str:
        written, derived = self.written or "nothing", self.derived or "nothing"
        return f"line {self.line}: report has {written}, store has {derived} (in: {self.context})"


def differences(written: str, derived: str) -> list[Difference]:
    """Differences between two texts of one report, number by number, in order of written lines.

    Line endings and trailing white space are ignored.
    """
    ours = [line.rstrip() for line in written.splitlines()]
    theirs = [line.rstrip() for line in derived.splitlines()]
    while ours and not ours[-1]:
        ours.pop()
    while theirs and not theirs[-1]:
        theirs.pop()
    result: list[Difference] = []
    matcher = difflib.SequenceMatcher(a=ours, b=theirs, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            continue
        common = min(b - a, d - c)
        for index in range(common):
            result += _in_line(a + index + 1, ours[a + index], theirs[c + index])
        for index in range(a + common, b):
            result.append(Difference(index + 1, _short(ours[index]), "", _short(ours[index])))
        for index in range(c + common, d):
            result.append(Difference(b, "", _short(theirs[index]), _short(theirs[index])))
    return result


def count_numbers(text: str) -> int:
    """Number of numbers in a text."""
    return len(NUMBER.findall(text))


def _in_line(number: int, ours: str, theirs: str) -> list[Difference]:
    """Differences within two corresponding lines."""
    our_words, their_words = _words(ours), _words(theirs)
    start = _common_prefix(our_words, their_words)
    end = _common_prefix(our_words[start:][::-1], their_words[start:][::-1])
    our_part = our_words[start : len(our_words) - end]
    their_part = their_words[start : len(their_words) - end]
    codes: Sequence[tuple[str, int, int, int, int]]
    codes = [("replace", 0, len(our_part), 0, len(their_part))]
    if max(len(our_part), len(their_part)) <= MAX_WORDS:
        codes = difflib.SequenceMatcher(a=our_part, b=their_part, autojunk=False).get_opcodes()
    result = []
    for tag, a, b, c, d in codes:
        if tag != "equal":
            before = "".join(our_words[max(0, start + a - AROUND) : start + a])
            after = "".join(our_words[start + b : start + b + AROUND])
            written, derived = "".join(our_part[a:b]), "".join(their_part[c:d])
            context = f"{before[-AROUND:]}{_short(written)}{after[:AROUND]}".strip()
            result.append(Difference(number, _short(written), _short(derived), context))
    return result


def _common_prefix(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """Length of the common prefix in words."""
    count = 0
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            break
        count += 1
    return count


def _words(line: str) -> list[str]:
    """Split a line into its numbers and the text between them."""
    words, end = [], 0
    for match in NUMBER.finditer(line):
        words += [line[end : match.start()], match[0]]
        end = match.end()
    return [word for word in [*words, line[end:]] if word]


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 80 else f"{text[:80]}…"
