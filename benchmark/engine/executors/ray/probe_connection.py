"""Probe the connection to a Ray cluster in a separate process, given its ADDRESS.

Ray waits forever for an address that does not respond, and may abort the waiting process.
"""

from __future__ import annotations

import json
import sys


def main(address: str) -> None:
    """Print type and text of the error on joining as JSON, or an empty object if it succeeds."""
    import ray

    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except Exception as error:  # the calling process reports all errors
        print(json.dumps({"kind": type(error).__name__, "text": str(error)}))
        return
    print("{}")
    sys.stdout.flush()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
