"""`python -m tests.performance [CASE…]`: run cases and write their parts of docs/performance.md."""

from __future__ import annotations

import sys

from tests.performance.cases import CASES, run
from tests.performance.harness import write_part


def main(names: list[str]) -> None:
    """Run the named cases, or all."""
    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise SystemExit(f"no case {', '.join(unknown)}: they are {', '.join(CASES)}")
    for name in names or CASES:
        rows = run(name)
        for row in rows:
            print(f"{name}: {row.what}: {row.outcome} (target: {row.target})", flush=True)
        if rows:
            write_part(name, rows)
        else:
            print(f"{name}: this machine cannot tell; its part stays as it is", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
