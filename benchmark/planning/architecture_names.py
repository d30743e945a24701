"""Resolve names, wildcards and lists to architectures with image sizes, within cost limits."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from benchmark.config.study import StudySettings
from clothclf.bounded_file import read_at_most
from clothclf.cost.quick import QuickCount, backbone_request, count_many, is_counted
from clothclf.errors import ArchitectureError, UserError
from clothclf.settings import ArchitectureSettings
from clothclf.settings.model import LIST_MARK

MAX_LIST_BYTES = 1_000_000
MAX_NAMES = 10_000
"""Maximum lines of a list."""
MAX_ERRORS = 20
"""Maximum number of errors to list individually."""
UNFIT_HINT = "exclude unsuitable architectures with --exclude NAME or selection.exclude"
DEMO_CLASSES = 11
"""Classes of the head for counting before the data is read, unless the study sets a maximum."""

Notify = Callable[[str], None]


@dataclass(frozen=True)
class ArchitectureMatch:
    """An architecture at one image size, with the costs of one image including the head."""

    entry: ArchitectureSettings
    """Resolved entry: a single name, with `image_size` in pixels."""
    macs: int | None
    """MACs of the deployed form; None if they cannot be counted."""
    params: int | None
    """Parameters of the deployed form."""
    out: str = ""
    """Reason for exclusion; empty if selected."""
    training_macs: int | None = None
    """MACs of the training form, if it differs."""

    @property
    def image_size(self) -> int:
        """Image side in pixels."""
        if not isinstance(self.entry.image_size, int):
            raise ValueError(f"{self.entry.name}: unresolved image size")
        return self.entry.image_size


def find_architectures(
    study: StudySettings,
    patterns: Sequence[str],
    cache: Path,
    notify: Notify | None = None,
    leave_out_unfit: bool = False,
) -> list[ArchitectureMatch]:
    """Resolve `patterns`, or the study's architectures, to all their image sizes.

    Architectures beyond `study.selection` are returned with a reason in `out`. Counts are cached
    below `cache`; `notify` gets progress messages. Raises UserError with one line for each
    problem: unknown names, unreadable lists, and image sizes that an architecture does not
    support (excluded instead with `leave_out_unfit`). Also raises if nothing is left.
    """
    matched = match_architectures(study, patterns)
    entries = sized(study, expand(matched, lambda entry: _is_counted(study, entry, cache)))
    included, out = _without_excluded(study, entries)
    counts, errors = _count(study, included, cache, notify)
    if not leave_out_unfit:
        _raise(list(errors.values()), UNFIT_HINT)
    matches = [
        ArchitectureMatch(
            entry,
            count.macs,
            count.params,
            errors.get(place) or _beyond(study, count),
            count.training_macs,
        )
        for place, (entry, count) in enumerate(zip(included, counts, strict=True))
    ]
    if all(item.out for item in matches):
        raise ArchitectureError(_nothing_left(matches))
    return [*matches, *out]


def match_architectures(
    study: StudySettings, patterns: Sequence[str]
) -> tuple[ArchitectureSettings, ...]:
    """Entries for `patterns`, with the study's own settings for architectures that it names.

    Patterns are names, wildcards, and lists as `@names.txt`; without any, returns the study's.
    """
    if not patterns:
        return study.architectures
    named = {entry.name: entry for entry in study.architectures}
    return tuple(named.get(name) or _named(name) for name in patterns)


def named_entries(patterns: Sequence[str]) -> list[ArchitectureSettings]:
    """Resolve patterns without a study; raises UserError as `expand` does."""
    return expand([_named(pattern) for pattern in patterns])


def _named(name: str) -> ArchitectureSettings:
    try:
        return ArchitectureSettings.model_validate({"name": name})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].lower()
        raise ArchitectureError(f"architecture {name[:80]!r}: invalid name: {reason}") from None


def _is_counted(study: StudySettings, entry: ArchitectureSettings, cache: Path) -> bool:
    """Return whether this version of timm has built and counted the entry at all its sizes."""
    sizes = entry.image_size or study.data.image_size
    sides = sizes if isinstance(sizes, tuple) else (sizes,)
    return all(
        isinstance(side, int) and is_counted(backbone_request(entry.name, side), cache)
        for side in sides
    )


def expand(
    entries: Sequence[ArchitectureSettings],
    is_known: Callable[[ArchitectureSettings], bool] = lambda entry: False,
) -> list[ArchitectureSettings]:
    """Expand lists and wildcards; an entry given by its full name keeps its own settings.

    Names that `is_known` accepts are not looked up in timm, whose import takes seconds. Raises
    UserError with one line for each unknown name.
    """
    from clothclf.models.architectures import expand_names, is_wildcard

    lines = [line for entry in entries for line in _listed(entry)]
    named = {entry.name: entry for entry in entries if not entry.name.startswith(LIST_MARK)}
    expanded: dict[str, ArchitectureSettings] = {}
    errors: list[str] = []
    for entry, where in lines:
        try:
            names = [entry.name] if is_known(entry) else expand_names([entry.name])
        except ArchitectureError as error:
            errors.append(f"{where}{error}")
            continue
        for name in names:
            own = entry if not is_wildcard(entry.name) else entry.model_copy(update={"name": name})
            expanded.setdefault(name, named.get(name, own))
    _raise(errors)
    return list(expanded.values())


def sized(
    study: StudySettings, entries: Sequence[ArchitectureSettings]
) -> list[ArchitectureSettings]:
    """One entry for each image size in pixels, without duplicates."""
    from clothclf.models.architectures import size_of

    entries_by_size: dict[tuple[str, int], ArchitectureSettings] = {}
    for entry in entries:
        sizes = entry.image_size or study.data.image_size
        for size in sizes if isinstance(sizes, tuple) else (sizes,):
            pixels = size_of(entry.name, size)
            own = entry.model_copy(update={"image_size": pixels})
            entries_by_size.setdefault((entry.name, pixels), own)
    return list(entries_by_size.values())


def _listed(entry: ArchitectureSettings) -> Iterator[tuple[ArchitectureSettings, str]]:
    """Yield an entry, or one for each line of its list, with its location for messages."""
    if not entry.name.startswith(LIST_MARK):
        yield entry, ""
        return
    path = Path(entry.name.removeprefix(LIST_MARK))
    has_names = False
    for number, line in enumerate(_read_list(path).splitlines(), 1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        where = f"{path}, line {number}: "
        if name.startswith(LIST_MARK):
            raise ArchitectureError(f"{where}a list must contain architectures, not other lists")
        if number > MAX_NAMES:
            raise ArchitectureError(f"{path}: has more than {MAX_NAMES:,} lines")
        try:
            _named(name)
        except ArchitectureError as error:
            raise ArchitectureError(f"{where}{error}") from None
        has_names = True
        yield entry.model_copy(update={"name": name}), where
    if not has_names:
        raise ArchitectureError(f"{path}: contains no architecture; write one per line")


def _read_list(path: Path) -> str:
    try:
        # Limit the bytes read, not the file size: devices have no size and no end.
        content = read_at_most(path, MAX_LIST_BYTES + 1)
        if len(content) > MAX_LIST_BYTES:
            raise ArchitectureError(f"{path}: larger than 1 MB; not a list of architectures")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ArchitectureError(
            f"{path}: is not UTF-8 at byte {error.start + 1}; save it as UTF-8"
        ) from None
    except (OSError, ValueError) as error:  # missing, a folder, or a path with a NUL byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise ArchitectureError(
            f"{str(path)[:200]}: the list of architectures cannot be read: {reason}"
        ) from None


def _without_excluded(
    study: StudySettings, entries: Sequence[ArchitectureSettings]
) -> tuple[list[ArchitectureSettings], list[ArchitectureMatch]]:
    included, out = [], []
    for entry in entries:
        by = [it for it in study.selection.exclude if fnmatch.fnmatchcase(entry.name, it)]
        if by:
            out.append(ArchitectureMatch(entry, None, None, f"excluded by {by[0]}"))
        else:
            included.append(entry)
    if not included:
        raise ArchitectureError(f"selection.exclude excludes all {len(out)} architectures")
    return included, out


def _count(
    study: StudySettings,
    entries: Sequence[ArchitectureSettings],
    cache: Path,
    notify: Notify | None,
) -> tuple[list[QuickCount], dict[int, str]]:
    """Count costs including heads, and errors by index for architectures that cannot be built."""
    sides = [entry.image_size for entry in entries]
    requests = [
        backbone_request(entry.name, side)
        for entry, side in zip(entries, sides, strict=True)
        if isinstance(side, int)
    ]
    classes = study.data.max_classes or DEMO_CLASSES
    quick_counts = count_many(requests, cache, _progress(notify))
    errors: dict[int, str] = {}
    for place, (request, count) in enumerate(zip(requests, quick_counts, strict=True)):
        if count.error:
            # A few architectures need real tensors while they are built.
            from clothclf.models.check_weights import check_architecture

            try:
                check_architecture(request.architecture, request.image_size)
            except ArchitectureError as error:
                errors[place] = str(error)
    heads = [entry.head or study.model.head for entry in entries]
    counts = [
        count.with_head(head, classes) for count, head in zip(quick_counts, heads, strict=True)
    ]
    return counts, errors


def _progress(notify: Notify | None) -> Callable[[int, int], None] | None:
    if notify is None:
        return None

    def on_count(done: int, total: int) -> None:
        if total > MAX_ERRORS and (done % MAX_ERRORS == 0 or done == total):
            notify(f"architectures: {done:,} of {total:,} counted")

    return on_count


def _beyond(study: StudySettings, count: QuickCount) -> str:
    limits = study.selection
    figures = (
        (count.macs, limits.max_gmacs, 1e9, "GMACs"),
        (count.params, limits.max_params, 1e6, "million parameters"),
    )
    reasons = []
    for value, limit, unit, name in figures:
        if limit is None:
            continue
        if value is None:
            reasons.append(f"its {name} cannot be counted")
        elif value > limit * unit:
            reasons.append(f"{value / unit:.3g} {name}, more than {limit:g}")
    return "; ".join(reasons)


def _nothing_left(matches: Sequence[ArchitectureMatch]) -> str:
    """Message for limits that exclude all architectures, with the smallest one."""
    known = [item for item in matches if item.macs is not None and item.params is not None]
    smallest = min(known, key=lambda item: (item.macs or 0, item.params or 0), default=None)
    if smallest is None:
        first = matches[0]
        return f"all {len(matches)} architectures are excluded; {first.entry.name}: {first.out}"
    return (
        f"the limits exclude all {len(matches)} architectures; the smallest, {smallest.entry.name} "
        f"at {smallest.image_size} px, has {(smallest.macs or 0) / 1e9:.3g} GMACs and "
        f"{(smallest.params or 0) / 1e6:.3g} million parameters: raise --max-gmacs or --max-params"
    )


def _raise(errors: Sequence[str], hint: str = "") -> None:
    """Raise UserError with one line for each error, at most MAX_ERRORS, if there are any.

    `hint` is the last line if there are several.
    """
    lines = list(dict.fromkeys(errors))
    if not lines:
        return
    if len(lines) > MAX_ERRORS:
        lines = [*lines[:MAX_ERRORS], f"and {len(lines) - MAX_ERRORS} more architectures"]
    if hint and len(lines) > 1:
        lines.append(hint)
    raise UserError("\n".join(lines))
