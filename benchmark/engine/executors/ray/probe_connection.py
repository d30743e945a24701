"""Probe the connection to a Ray cluster in a process of its own, as a module with its ADDRESS.

Ray waits for an address that does not answer without end, and may abort the process that waits.
"""

from __future__ import annotations

import json
import sys


def main(address: str) -> None:
    """Print as JSON what kind of error joining gives, and its text; an empty object if none."""
    import ray

    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except Exception as error:  # whatever Ray raises is told by the process that asked
        print(json.dumps({"kind": type(error).__name__, "text": str(error)}))
        return
    print("{}")
    sys.stdout.flush()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
