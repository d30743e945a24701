"""List and format architectures, costs and weights for `bench models`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmark.planning.architecture_names import named_entries
from benchmark.text.numbers import deployed_mark, deployed_note, millions
from clothclf.cost.quick import QuickCount, count_many, own_request
from clothclf.csv_text import csv_text
from clothclf.errors import ArchitectureError
from clothclf.results import size_text

COLUMNS = ("architecture", "px", "parameters", "GMACs", "weight tags", "available")
"""Columns of the table. Parameters in millions, with timm's classifier; GMACs of one image."""
SHOWN_TAGS = 3

Notify = Callable[[int, int], None]


@dataclass(frozen=True)
class Listed:
    """An architecture of timm or of the user, with its own classifier."""

    architecture: str
    image_size: int
    """Image width in pixels."""
    params: int | None
    macs: int | None
    """MACs of the deployed form, like `params`."""
    tags: tuple[str, ...]
    """Tags of published weights, timm's default first."""
    at_hand: tuple[str, ...]
    """Tags of weights in the hub's cache, and names of weights files in the folder."""
    error: str
    """Error if the architecture cannot be counted; else empty."""
    image_height: int | None = None
    """Image height in pixels if it is not square; else None."""
    training_macs: int | None = None
    """MACs of the training form if it differs from the deployed form; else None."""
    training_params: int | None = None


@dataclass(frozen=True)
class Query:
    """Query options in addition to the patterns."""

    image_size: int | None = None
    """Image size in pixels; None for timm's size of each architecture."""
    weights: Path | None = None
    """Folder of weights files."""
    max_gmacs: float | None = None
    max_params: float | None = None
    """Maximum parameters, in 10^6."""
    sort: str = "name"


def list_models(
    patterns: Sequence[str], query: Query, cache: Path, progress: Notify | None = None
) -> list[Listed]:
    """List architectures that match the patterns and limits; counts are cached below `cache`.

    Raises UserError for an unknown name, a missing weights folder, or limits that exclude
    everything.
    """
    from clothclf.models.architectures import default_size, tags

    if query.weights is not None and not query.weights.is_dir():
        raise ArchitectureError(f"--weights {query.weights}: no such folder")
    names = [entry.name for entry in named_entries(patterns)]
    sides = [query.image_size or default_size(name) for name in names]
    # 0 requests timm's own size, which is not square for some architectures.
    requests = [own_request(name, query.image_size or 0) for name in names]
    counts = count_many(requests, cache, progress)
    listed = [
        Listed(
            architecture=name,
            image_size=count.width or side,
            params=count.params,
            macs=count.macs,
            tags=tuple(tags(name)),
            at_hand=(),
            error=count.error,
            image_height=None if count.height == count.width else count.height,
            training_macs=count.training_macs,
            training_params=count.training_params,
        )
        for name, side, count in zip(names, sides, counts, strict=True)
        if _within(count, query)
    ]
    if not listed:
        raise ArchitectureError(_none_left(names, counts))
    with_weights = [
        Listed(**{**vars(item), "at_hand": _at_hand(item, query.weights)}) for item in listed
    ]
    return sorted(with_weights, key=lambda item: _order(item, query.sort))


def cells(item: Listed) -> list[str]:
    """Format an architecture as a row of the table."""
    tags = ", ".join(item.tags[:SHOWN_TAGS])
    macs_mark = deployed_mark(item.macs, item.training_macs)
    more = f" + {len(item.tags) - SHOWN_TAGS}" if len(item.tags) > SHOWN_TAGS else ""
    return [
        item.architecture,
        size_text(item.image_size, item.image_height),
        millions(item.params) + deployed_mark(item.params, item.training_params),
        "-" if item.macs is None else f"{item.macs / 1e9:.3f}" + macs_mark,
        f"{tags}{more}" or "-",
        ", ".join(item.at_hand) or "-",
    ]


def note(items: Sequence[Listed]) -> str:
    """Explanation of the mark (d) of deployed forms; empty if no row has it."""
    return deployed_note([
        (item.architecture, item.training_macs, item.training_params) for item in items
    ])  # fmt: skip


def as_csv(items: Sequence[Listed]) -> str:
    """Format as CSV, one row per architecture, unrounded, tags separated by spaces."""
    columns = list(Listed.__dataclass_fields__)
    rows = [
        {**vars(item), "tags": " ".join(item.tags), "at_hand": " ".join(item.at_hand)}
        for item in items
    ]
    return csv_text(columns, ([row[key] for key in columns] for row in rows))


def as_json(items: Sequence[Listed]) -> str:
    """Format as a JSON list, one object per architecture."""
    return json.dumps([asdict(item) for item in items], indent=1) + "\n"


def _within(count: QuickCount, query: Query) -> bool:
    """Whether a count is within the limits; without a count, only if there are no limits."""
    limits = ((count.macs, query.max_gmacs, 1e9), (count.params, query.max_params, 1e6))
    return all(
        maximum is None or (value is not None and value <= maximum * unit)
        for value, maximum, unit in limits
    )


def _none_left(names: Sequence[str], counts: Sequence[QuickCount]) -> str:
    known = [
        (count.macs, count.params, name)
        for name, count in zip(names, counts, strict=True)
        if count.macs is not None and count.params is not None
    ]
    if not known:
        return f"none of {len(names)} architectures can be counted: {counts[0].error}"
    macs, params, name = min(known)
    return (
        f"the limits exclude all {len(names)} architectures; the smallest, {name}, has "
        f"{macs / 1e9:.3g} GMACs and {params / 1e6:.3g} million parameters"
    )


def _at_hand(item: Listed, folder: Path | None) -> tuple[str, ...]:
    from clothclf.models.architectures import pretrained_config
    from clothclf.models.weights import cached_weights, weights_file

    names = []
    plain, _, own_tag = item.architecture.partition(".")
    for tag in item.tags:
        config = pretrained_config(f"{plain}.{tag}") if tag else pretrained_config(plain)
        expected = not own_tag or tag == own_tag
        if expected and config is not None and config.hf_hub_id:
            names += [tag] if cached_weights(config.hf_hub_id) else []
    if folder is not None and (folder / weights_file(item.architecture)).is_file():
        names.append(weights_file(item.architecture))
    return tuple(names)


def _order(item: Listed, by: str) -> tuple[float, str]:
    figure = {"params": item.params, "macs": item.macs}.get(by, 0)
    return (float("inf") if figure is None else float(figure), item.architecture)
