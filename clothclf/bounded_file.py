"""Read user-supplied paths with bounds on size and time, including devices and pipes."""

from __future__ import annotations

import errno
import os
import select
import stat
from pathlib import Path

PIPE_TIMEOUT_S = 10.0
"""Maximum wait in seconds for data from a pipe, such as the shell's `<(command)`."""
CHUNK_BYTES = 2**20


def read_at_most(path: Path, count: int) -> bytes:
    """Read the first `count` bytes of a file, device or pipe.

    Raises OSError, including TimeoutError if a pipe has no data for `PIPE_TIMEOUT_S`.
    """
    # A blocking open of a pipe without a writer would never return.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    content = bytearray()
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(handle).st_mode)
        os.set_blocking(handle, not is_pipe)
        while len(content) < count:
            if is_pipe and not select.select([handle], [], [], PIPE_TIMEOUT_S)[0]:
                message = f"it is a pipe that had no data for {PIPE_TIMEOUT_S:g} seconds"
                raise TimeoutError(errno.ETIMEDOUT, message)
            part = os.read(handle, min(CHUNK_BYTES, count - len(content)))
            if not part:
                break
            content += part
    finally:
        os.close(handle)
    return bytes(content)
