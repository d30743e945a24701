"""Output files of commands, written atomically."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import ReportError
from clothclf.data.atomic import STANDARD_OUTPUT, output_file

if TYPE_CHECKING:
    from PIL import Image


def is_file(output: Path | None) -> bool:
    """Whether `--output` is a file and not standard output."""
    return output not in (None, STANDARD_OUTPUT)


def write_output(content: str | bytes, output: Path | None) -> None:
    """Write to a file, or to standard output without one; raises ReportError on failure.

    Bytes of file names that are not UTF-8 are written as Python and JSON do: `caf\\udce9`.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    if output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with writing(output) as unfinished:
        unfinished.write_bytes(data)


def write_png(image: Image.Image, output: Path) -> None:
    """Write an image as PNG; raises ReportError on failure."""
    content = io.BytesIO()
    image.save(content, "PNG")
    write_output(content.getvalue(), output)


@contextlib.contextmanager
def writing(
    output: Path, opened: Callable[[Path], AbstractContextManager[Path]] = output_file
) -> Iterator[Path]:
    """Yield a path to write for `--output`, then print its name; raises ReportError on failure.

    `opened` is `regular_file` for a file that is written in place.
    """
    try:
        with opened(output) as unfinished:
            yield unfinished
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ReportError(f"{output}: cannot be written: {error.strerror or error}") from None
    if is_file(output):
        print(f"written to {output}", file=sys.stderr, flush=True)
