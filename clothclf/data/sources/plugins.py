"""Source plug-ins from other packages, found by the entry point group `bench.sources`.

An entry point names a callable that takes the DataSettings and returns a Source. All return values
are validated, and all errors are converted to a one-line message that names the plug-in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from clothclf.data.sources.listing import (
    MAX_IMAGE_BYTES,
    Finding,
    Listing,
    Query,
    Source,
    is_one_line,
    plain_title,
)
from clothclf.errors import DataError, did_you_mean
from clothclf.settings import DataSettings
from clothclf.settings.data import BUILT_IN_SOURCES

GROUP = "bench.sources"
_MESSAGE_CHARACTERS = 300

T = TypeVar("T")


def open_plugin(settings: DataSettings) -> Source:
    """Open the plug-in named by `data.source`; raises DataError that names the plug-in."""
    entry = _find(settings.source)
    where = f"data.source: plug-in {entry.name!r} ({entry.value})"
    build = _call(where, "cannot be loaded", entry.load)
    if not callable(build):
        raise DataError(f"{where}: is not a callable that takes the settings and returns a source")
    source = _call(where, "failed", lambda: build(settings))
    lacks = [
        name for name in ("list_images", "read_bytes", "stamp") if not _has_method(source, name)
    ]
    if not isinstance(getattr(source, "title", None), str):
        lacks.append("title (text)")
    if not isinstance(getattr(source, "synthetic", None), bool):
        lacks.append("synthetic (a bool)")
    if lacks:
        kind = type(source).__name__
        raise DataError(f"{where}: did not return a source: its {kind} lacks {', '.join(lacks)}")
    return _Checked(source, where, settings)


def _find(name: str) -> EntryPoint:
    installed = entry_points(group=GROUP)
    matching = {entry.value: entry for entry in installed if entry.name == name}
    if len(matching) == 1:
        return next(iter(matching.values()))
    if matching:
        names_of = ", ".join(sorted(matching))
        raise DataError(
            f"data.source: {len(matching)} plug-ins are called {name!r} ({names_of}); "
            "uninstall all but one"
        )
    names = sorted({entry.name for entry in installed})
    hint = did_you_mean(name, [*BUILT_IN_SOURCES, *names])
    raise DataError(
        f"data.source: unknown source {name[:80]!r}{hint}; built-in sources are "
        f"{', '.join(BUILT_IN_SOURCES)}; plug-ins: {', '.join(names) or 'none'}"
    )


def _has_method(source: object, name: str) -> bool:
    return callable(getattr(source, name, None))


def _call(where: str, what: str, act: Callable[[], T]) -> T:
    """Call a plug-in; convert exceptions to a one-line DataError that names it."""
    try:
        return act()
    except DataError as error:  # the plug-in's own message
        raise DataError(f"{where}: {_one_line(error)}") from None
    except (Exception, SystemExit) as error:
        kind = type(error).__name__
        raise DataError(f"{where}: {what} with {kind}: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:_MESSAGE_CHARACTERS] or "without a message"


class _Checked:
    """Wrapper that validates everything a plug-in's source returns."""

    def __init__(self, source: Source, where: str, settings: DataSettings) -> None:
        self.title = plain_title(source.title)
        self.synthetic = source.synthetic
        self._source = source
        self._where = where
        chosen = settings.model_dump_json(include={"source", "path", "image", "options"})
        self._stamp = f"{where} {chosen}"

    def list_images(self, query: Query) -> Listing:
        """Return the plug-in's listing; raises DataError on exceptions and invalid listings."""
        listing = _call(self._where, "failed", lambda: self._source.list_images(query))
        if reason := _listing_error(listing, query):
            raise DataError(f"{self._where}: returned an invalid listing: {reason}")
        return listing

    def read_bytes(self, image_id: str) -> bytes:
        """Return the plug-in's image; raises DataError on exceptions or invalid content."""
        content = _call(self._where, "failed", lambda: self._source.read_bytes(image_id))
        if not isinstance(content, bytes):
            raise DataError(f"{self._where}: read_bytes returned {type(content).__name__}")
        if len(content) > MAX_IMAGE_BYTES:
            raise DataError(f"{self._where}: read_bytes returned {len(content):,} bytes, too many")
        return content

    def stamp(self) -> str:
        """Return the plug-in's stamp with its name and settings, so that caches are not shared."""
        return f"{self._stamp} {_call(self._where, 'failed', self._source.stamp)}"


def _listing_error(listing: Any, query: Query) -> str:
    if not isinstance(listing, Listing):
        return f"it is a {type(listing).__name__}, not a Listing"
    if not isinstance(listing.columns, Mapping):
        return f"its columns are a {type(listing.columns).__name__}, not a mapping of names"
    if missing := [name for name in query.columns if name not in listing.columns]:
        return f"it has no column {missing[0]!r}"
    parts: dict[str, Sequence[str]] = {
        "ids": listing.ids,
        **{f"columns[{name!r}]": listing.columns[name] for name in query.columns},
        **{name: getattr(listing, name) for name in ("splits", "errors", "places")},
    }
    for name, values in parts.items():
        if isinstance(values, str) or not isinstance(values, Sequence):
            return f"{name} is a {type(values).__name__}, not a list of text"
        may_be_empty = name in ("splits", "errors", "places")
        if len(values) != len(listing.ids) and not (may_be_empty and not values):
            return f"{name} has {len(values):,} values for {len(listing.ids):,} ids"
        if not_text := {type(value).__name__ for value in values} - {"str"}:
            return f"{name} holds {sorted(not_text)[0]}, which is not text"
    # Ids appear in tables, files and messages.
    if invalid_id := next((name for name in listing.ids if not is_one_line(name)), None):
        return f"the id {invalid_id[:80]!r} is not plain text"
    if not all(isinstance(finding, Finding) for finding in listing.findings):
        return "its findings are not all Findings"
    return ""
