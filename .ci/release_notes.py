"""Print the section of a version in the changelog, as the notes of its release.

Fails if the package has another version, or if the changelog has no section of it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def notes(changelog: str, version: str) -> str:
    """Return the section below `## VERSION`, up to the next version; raises ValueError."""
    heading = rf"^## \[?{re.escape(version)}\]?(?![\w.])[^\n]*\n"
    found = re.search(rf"{heading}(.*?)(?=^## |\Z)", changelog, re.M | re.S)
    text = found[1].strip() if found else ""
    if not text:
        raise ValueError(f"CHANGELOG.md: no section `## {version}`, or an empty one; write it")
    return f"{text}\n"


def package_version(source: str) -> str:
    """Return the version in `clothclf/__init__.py`; raises ValueError."""
    found = re.search(r'^__version__ = "([^"]+)"', source, re.M)
    if found is None:
        raise ValueError("clothclf/__init__.py: has no __version__")
    return found[1]


def main() -> None:
    """Print the notes of the version that is given as the argument, `v1.2.3` or `1.2.3`."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: release_notes.py VERSION")
    version = sys.argv[1].removeprefix("v")
    try:
        own = package_version((ROOT / "clothclf/__init__.py").read_text("utf-8"))
        if own != version:
            raise ValueError(f"clothclf/__init__.py: has version {own}, not {version}; change one")
        print(notes((ROOT / "CHANGELOG.md").read_text("utf-8"), version), end="")
    except ValueError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
