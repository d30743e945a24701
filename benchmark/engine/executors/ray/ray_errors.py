"""Messages for Ray's errors, and the errors that mean that a node was lost."""

from __future__ import annotations

import errno

from clothclf.errors import first_line


def node_lost_errors() -> tuple[type[Exception], ...]:
    """Return the errors of lost nodes or workers, after which a run is retried."""
    from ray import exceptions

    return (
        exceptions.NodeDiedError,
        exceptions.WorkerCrashedError,
        exceptions.LocalRayletDiedError,
        exceptions.OwnerDiedError,
        exceptions.ObjectLostError,
        exceptions.RpcError,
    )


def error_text(error: BaseException, folder: str = "") -> str:
    """Return a one-line message for an error; `folder` is where files were written, if any."""
    from ray import exceptions

    cause = getattr(error, "cause", None)
    for reason in (error, cause):
        if isinstance(reason, exceptions.ObjectStoreFullError | exceptions.OutOfDiskError):
            return (
                "Ray's object store and the disk that it spills to are full; free space, or start "
                "nodes with a larger object store (ray start --object-store-memory BYTES)"
            )
        if isinstance(reason, OSError) and reason.errno == errno.ENOSPC:
            return f"the disk of {reason.filename or folder} is full; free some space"
    if isinstance(error, exceptions.OutOfMemoryError):
        return "its node ran out of memory and Ray stopped the run; raise --cpus-per-run"
    reason = cause if isinstance(cause, BaseException) else error
    if isinstance(reason, OSError) and reason.strerror:
        return f"{reason.filename or folder}: {reason.strerror}"
    return first_line(reason)
