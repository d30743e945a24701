"""Escape untrusted text for Markdown on GitHub, where names also mention people and issues."""

from __future__ import annotations

import re

MAX_CHARACTERS = 300
BREAK = "&#8203;"
"""A space of no width, behind which GitHub sees no mention, reference, emoji or link."""
_MARKUP = re.compile(r"[\\`*_{}\[\]<>()#|~&$!]")
_NOT_PLAIN = re.compile(r"[^\w /-]|_")
_LIST_OR_RULE = re.compile(r"^(?:[-+](?!\d)|=|\d(?=\d*\.(?:\s|$)))")
_REFERENCE = re.compile(r"@|&#35;|:(?=\S)|www(?=\.)|\bgh-(?=\d)", re.IGNORECASE)


def github_text(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Escape text for one line of a comment; a text longer than `limit` characters is cut."""
    escaped = _MARKUP.sub(_entity, _line(text, limit))
    escaped = _REFERENCE.sub(lambda found: found[0] + BREAK, escaped)
    return _LIST_OR_RULE.sub(_entity, escaped)


def github_code(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Escape text as code, in which GitHub sees no mention, and which can be copied."""
    return f"<code>{_NOT_PLAIN.sub(_entity, _line(text, limit))}</code>"


def _line(text: str, limit: int) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _entity(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"
