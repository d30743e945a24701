"""From what a user names to architectures with a size each: lists, wildcards, limits on cost."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from benchmark.study import StudySettings
from clothclf.bounded_file import read_at_most
from clothclf.cost.quick import QuickCount, body_request, count_many
from clothclf.errors import ArchitectureError, UserError
from clothclf.settings import ArchitectureSettings
from clothclf.settings.model import LIST_MARK

MAX_LIST_BYTES = 1_000_000
MAX_NAMES = 10_000
"""In a list."""
MOST_FAULTS = 20
"""That are told one by one."""
UNFIT_HINT = "leave out what cannot take part by --exclude NAME, or by selection.exclude"
DEMO_CLASSES = 11
"""Of a head that is counted before the data are read, unless the study says how many."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Candidate:
    """An architecture at one size; MACs of one picture, with the study's head on it."""

    entry: ArchitectureSettings
    """No wildcard, no list; its `image_size` is in pixels."""
    macs: int | None
    """None where they cannot be counted."""
    params: int | None
    """Of the form that is deployed, as MACs are."""
    out: str = ""
    """Why it is left out, in words; empty where it stays."""
    training_macs: int | None = None
    """Of the form that trains, where it is another one."""

    @property
    def image_size(self) -> int:
        """Side of its pictures, in pixels."""
        if not isinstance(self.entry.image_size, int):
            raise ValueError(f"{self.entry.name}: its size is not in pixels")
        return self.entry.image_size


def choose(
    study: StudySettings,
    asked: Sequence[str],
    cache: Path,
    tell: Tell | None = None,
    leave_out_unfit: bool = False,
) -> list[Candidate]:
    """All architectures that are asked for, or of the study, each at its size or sizes.

    Those beyond `study.selection` say in `out` why they are left out. Counts are kept below
    `cache`; `tell` hears of progress where there are many to count. Raises UserError, with a
    line for each fault, for names that are not known, lists that cannot be read, and sizes that
    an architecture refuses (with `leave_out_unfit` it is left out); and where nothing is left.
    """
    entries = sized(study, expand(choose_architectures(study, asked)))
    kept, out = _without_excluded(study, entries)
    counts, faults = _count(study, kept, cache, tell)
    if not leave_out_unfit:
        _raise(list(faults.values()), UNFIT_HINT)
    found = [
        Candidate(
            entry,
            count.macs,
            count.params,
            faults.get(place) or _beyond(study, count),
            count.training_macs,
        )
        for place, (entry, count) in enumerate(zip(kept, counts, strict=True))
    ]
    if all(item.out for item in found):
        raise ArchitectureError(_nothing_left(found))
    return [*found, *out]


def choose_architectures(
    study: StudySettings, asked: Sequence[str]
) -> tuple[ArchitectureSettings, ...]:
    """The architectures to run: those asked for, with what is the study's own where it names them.

    `asked` are names, wildcards, and lists as `@names.txt`.
    """
    if not asked:
        return study.architectures
    named = {entry.name: entry for entry in study.architectures}
    return tuple(named.get(name) or _named(name) for name in asked)


def named_entries(patterns: Sequence[str]) -> list[ArchitectureSettings]:
    """What bare patterns name, without a study; raises UserError as `expand`."""
    return expand([_named(pattern) for pattern in patterns])


def _named(name: str) -> ArchitectureSettings:
    try:
        return ArchitectureSettings.model_validate({"name": name})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].lower()
        raise ArchitectureError(f"architecture {name[:80]!r} is no name: {reason}") from None


def expand(entries: Sequence[ArchitectureSettings]) -> list[ArchitectureSettings]:
    """Replace lists and wildcards by names; a name that stands there in full keeps what it has.

    Raises UserError with a line for each name that is not known.
    """
    from clothclf.models.architectures import expand_names, is_wildcard

    lines = [line for entry in entries for line in _listed(entry)]
    named = {entry.name: entry for entry in entries if not entry.name.startswith(LIST_MARK)}
    expanded: dict[str, ArchitectureSettings] = {}
    faults: list[str] = []
    for entry, where in lines:
        try:
            names = expand_names([entry.name])
        except ArchitectureError as error:
            faults.append(f"{where}{error}")
            continue
        for name in names:
            own = entry if not is_wildcard(entry.name) else entry.model_copy(update={"name": name})
            expanded.setdefault(name, named.get(name, own))
    _raise(faults)
    return list(expanded.values())


def sized(
    study: StudySettings, entries: Sequence[ArchitectureSettings]
) -> list[ArchitectureSettings]:
    """Each entry once for each of its sizes, in pixels, without repeats."""
    from clothclf.models.architectures import size_of

    found: dict[tuple[str, int], ArchitectureSettings] = {}
    for entry in entries:
        sizes = entry.image_size or study.data.image_size
        for size in sizes if isinstance(sizes, tuple) else (sizes,):
            pixels = size_of(entry.name, size)
            own = entry.model_copy(update={"image_size": pixels})
            found.setdefault((entry.name, pixels), own)
    return list(found.values())


def _listed(entry: ArchitectureSettings) -> Iterator[tuple[ArchitectureSettings, str]]:
    """An entry, or one for each line of the list that it names, and where it stands."""
    if not entry.name.startswith(LIST_MARK):
        yield entry, ""
        return
    path = Path(entry.name.removeprefix(LIST_MARK))
    found = False
    for number, line in enumerate(_read_list(path).splitlines(), 1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        where = f"{path}, line {number}: "
        if name.startswith(LIST_MARK):
            raise ArchitectureError(f"{where}a list names architectures, not further lists")
        if number > MAX_NAMES:
            raise ArchitectureError(f"{path}: has more than {MAX_NAMES:,} lines")
        try:
            _named(name)
        except ArchitectureError as error:
            raise ArchitectureError(f"{where}{error}") from None
        found = True
        yield entry.model_copy(update={"name": name}), where
    if not found:
        raise ArchitectureError(f"{path}: names no architecture; write one on each line")


def _read_list(path: Path) -> str:
    try:
        # A device has no size and no end: what is read is bounded, not what is declared.
        content = read_at_most(path, MAX_LIST_BYTES + 1)
        if len(content) > MAX_LIST_BYTES:
            raise ArchitectureError(f"{path}: larger than 1 MB; this is no list of architectures")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ArchitectureError(
            f"{path}: is not UTF-8 at byte {error.start + 1}; save it as UTF-8"
        ) from None
    except (OSError, ValueError) as error:  # not there, a folder, or a path with a NUL
        reason = error.strerror if isinstance(error, OSError) else error
        raise ArchitectureError(
            f"{str(path)[:200]}: this list of architectures cannot be read: {reason}"
        ) from None


def _without_excluded(
    study: StudySettings, entries: Sequence[ArchitectureSettings]
) -> tuple[list[ArchitectureSettings], list[Candidate]]:
    kept, out = [], []
    for entry in entries:
        by = [it for it in study.selection.exclude if fnmatch.fnmatchcase(entry.name, it)]
        if by:
            out.append(Candidate(entry, None, None, f"excluded by {by[0]}"))
        else:
            kept.append(entry)
    if not kept:
        raise ArchitectureError(f"selection.exclude leaves none of {len(out)} architectures")
    return kept, out


def _count(
    study: StudySettings, entries: Sequence[ArchitectureSettings], cache: Path, tell: Tell | None
) -> tuple[list[QuickCount], dict[int, str]]:
    """Count each with its head; by place, why one cannot be built at its size."""
    from clothclf.models.check import check_architecture

    sides = [entry.image_size for entry in entries]
    requests = [
        body_request(entry.name, side)
        for entry, side in zip(entries, sides, strict=True)
        if isinstance(side, int)
    ]
    classes = study.data.max_classes or DEMO_CLASSES
    found = count_many(requests, cache, _progress(tell))
    faults: dict[int, str] = {}
    for place, (request, count) in enumerate(zip(requests, found, strict=True)):
        if count.fault:
            # A few architectures compute with real numbers while they are built.
            try:
                check_architecture(request.architecture, request.image_size)
            except ArchitectureError as error:
                faults[place] = str(error)
    heads = [entry.head or study.model.head for entry in entries]
    counts = [count.with_head(head, classes) for count, head in zip(found, heads, strict=True)]
    return counts, faults


def _progress(tell: Tell | None) -> Callable[[int, int], None] | None:
    if tell is None:
        return None

    def on_count(done: int, total: int) -> None:
        if total > MOST_FAULTS and (done % MOST_FAULTS == 0 or done == total):
            tell(f"architectures: {done:,} of {total:,} counted")

    return on_count


def _beyond(study: StudySettings, count: QuickCount) -> str:
    limits = study.selection
    figures = (
        (count.macs, limits.max_gmacs, 1e9, "GMACs"),
        (count.params, limits.max_params, 1e6, "million parameters"),
    )
    told = []
    for value, most, unit, name in figures:
        if most is None:
            continue
        if value is None:
            told.append(f"its {name} cannot be counted")
        elif value > most * unit:
            told.append(f"{value / unit:.3g} {name}, more than {most:g}")
    return "; ".join(told)


def _nothing_left(found: Sequence[Candidate]) -> str:
    """The sentence for limits that leave no architecture, with the smallest of all."""
    known = [item for item in found if item.macs is not None and item.params is not None]
    least = min(known, key=lambda item: (item.macs or 0, item.params or 0), default=None)
    told = f"the limits leave none of {len(found)} architectures"
    if least is None:
        return f"none of {len(found)} architectures is left; {found[0].entry.name}: {found[0].out}"
    return (
        f"{told}; the smallest, {least.entry.name} at {least.image_size} px, has "
        f"{(least.macs or 0) / 1e9:.3g} GMACs and {(least.params or 0) / 1e6:.3g} million "
        "parameters: raise --max-gmacs or --max-params"
    )


def _raise(faults: Sequence[str], hint: str = "") -> None:
    """Raise UserError with the faults, a line each, the first of them where they are many.

    Where there are several, `hint` comes last.
    """
    told = list(dict.fromkeys(faults))
    if not told:
        return
    if len(told) > MOST_FAULTS:
        told = [*told[:MOST_FAULTS], f"and {len(told) - MOST_FAULTS} more architectures"]
    if hint and len(told) > 1:
        told.append(hint)
    raise UserError("\n".join(told))
