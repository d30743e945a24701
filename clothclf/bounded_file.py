"""Read files that a user names, whatever they are: no more than so much, and never without end."""

from __future__ import annotations

import errno
import os
import select
import stat
from pathlib import Path

PIPE_TIMEOUT_S = 10.0
"""For somebody to write to a pipe. What a shell makes of `<(command)` is one."""
CHUNK_BYTES = 2**20


def read_at_most(path: Path, count: int) -> bytes:
    """The first `count` bytes of a file, a device or a pipe.

    Raises OSError, TimeoutError where nobody writes to a pipe for PIPE_TIMEOUT_S.
    """
    # Opened as usual, a pipe that nobody writes to would wait for ever.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    content = bytearray()
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(handle).st_mode)
        os.set_blocking(handle, not is_pipe)
        while len(content) < count:
            if is_pipe and not select.select([handle], [], [], PIPE_TIMEOUT_S)[0]:
                told = f"it is a pipe, and nobody writes to it for {PIPE_TIMEOUT_S:g} seconds"
                raise TimeoutError(errno.ETIMEDOUT, told)
            part = os.read(handle, min(CHUNK_BYTES, count - len(content)))
            if not part:
                break
            content += part
    finally:
        os.close(handle)
    return bytes(content)
