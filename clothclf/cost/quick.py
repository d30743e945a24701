"""Count many architectures quickly, with torch's counter only, and cache the results."""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from clothclf.cost.count import CostRequest
from clothclf.cost.worker_pool import count_many_in_children
from clothclf.data.atomic import json_sha256, write_text
from clothclf.errors import CostError, UserError, first_line
from clothclf.settings import HeadSettings

FORMAT = 2
"""Version of the cache's content; increase it when the same network would count differently."""
MAX_IN_PROCESS = 8
"""Maximum number of architectures to count in this process; more start a worker pool."""

OnProgress = Callable[[int, int], None]
"""Callback with the number of counted architectures and the total."""


@dataclass(frozen=True)
class QuickCount:
    """MACs of one forward pass of one image, and parameters of the network."""

    macs: int | None
    """Headline multiply-adds; None if they could not be counted."""
    params: int | None
    features: int
    """Length of the backbone's feature vector; 0 for timm's own network."""
    error: str = ""
    """Error, in one sentence; empty if the network was counted."""
    training_macs: int | None = None
    """MACs of the training form if it differs from the deployed form; else None."""
    training_params: int | None = None
    """Parameters of the training form, likewise."""
    width: int = 0
    """Width of the counted image in pixels."""
    height: int = 0
    """Height of the counted image in pixels."""

    def with_head(self, head: HeadSettings, classes: int) -> QuickCount:
        """Return the cost of this backbone with a head."""
        if self.macs is None or self.params is None:
            return self
        widths = [self.features, *([head.hidden] if head.hidden else []), classes]
        pairs = list(itertools.pairwise(widths))
        products = sum(before * after for before, after in pairs)
        biases = sum(after for _, after in pairs)
        grown = replace(self, macs=self.macs + products, params=self.params + products + biases)
        if self.training_macs is None or self.training_params is None:
            return grown
        return replace(
            grown,
            training_macs=self.training_macs + products,
            training_params=self.training_params + products + biases,
        )


def backbone_request(architecture: str, image_size: int) -> CostRequest:
    """Request a network without its classifier, at a size in pixels."""
    return CostRequest(architecture, image_size, 0, HeadSettings())


def own_request(architecture: str, image_size: int = 0) -> CostRequest:
    """Request timm's own network with its classifier; an image size of 0 is timm's default."""
    return CostRequest(architecture, image_size, 0, HeadSettings(), False, own_classifier=True)


def count_many(
    requests: Sequence[CostRequest], folder: Path, progress: OnProgress | None = None
) -> list[QuickCount]:
    """Count each request, or read the result from the cache in `folder`.

    The key includes the versions of torch and timm. Custom architectures are not cached. A request
    that cannot be counted returns an `error`.
    """
    counts: dict[int, QuickCount] = {}
    for index, request in enumerate(requests):
        if (cached := _read(request, folder)) is not None:
            counts[index] = cached
    missing = [index for index in range(len(requests)) if index not in counts]
    indices = {id(requests[index]): index for index in missing}

    def add(request: CostRequest, result: Any, error: str) -> None:
        count = QuickCount(None, None, 0, error) if error else QuickCount(**result)
        _write(request, folder, count)
        counts[indices[id(request)]] = count
        if progress is not None:
            progress(len(counts), len(requests))

    waiting = [requests[index] for index in missing]
    if len(waiting) > MAX_IN_PROCESS:
        workers = min(os.cpu_count() or 1, len(waiting) // MAX_IN_PROCESS + 1)
        count_many_in_children("backbone", waiting, workers, add)
    else:
        for request in waiting:
            add(request, *_count(request))
    return [counts[index] for index in range(len(requests))]


def is_counted(request: CostRequest, folder: Path) -> bool:
    """Return whether `folder` has the count of a request, without an error."""
    cached = _read(request, folder)
    return cached is not None and not cached.error


def count_backbone(request: CostRequest) -> dict[str, Any]:
    """Count in this process, on the meta device; raises UserError if it cannot be built."""
    from clothclf.cost.counting import (
        Form,
        count_backbone_on_meta,
        count_deployed_on_meta,
        count_on_meta,
    )
    from clothclf.cost.network import resolve

    request = resolve(request)
    if request.own_classifier:
        network, record = count_on_meta(request, by_layer=False)
        model, features = network.model, 0
    else:
        model, features, record = count_backbone_on_meta(request)
    training = Form.of(model, record)
    other = None
    with contextlib.suppress(CostError):  # then the training form is deployed
        other = count_deployed_on_meta(request, model)
    _, height, width = record.input_size
    count = QuickCount(
        macs=(other or training).macs,
        params=(other or training).params,
        features=features,
        training_macs=training.macs if other else None,
        training_params=training.params if other else None,
        width=width,
        height=height,
    )
    return asdict(count)


def _count(request: CostRequest) -> tuple[Any, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return count_backbone(request), ""
    except UserError as error:
        message = str(error)
    except MemoryError as error:
        message = f"out of memory: {first_line(error)}"
    named = request.architecture in message
    return None, message if named else f"{request.architecture}: {message}"


def _is_cacheable(request: CostRequest) -> bool:
    return ":" not in request.architecture


def _path(request: CostRequest, folder: Path) -> Path:
    key = json_sha256([FORMAT, request.to_dict(), _versions()])[:16]
    return folder / "counts" / f"{key}.json"


@cache
def _versions() -> list[str]:
    return [importlib.metadata.version(name) for name in ("torch", "timm")]


def _read(request: CostRequest, folder: Path) -> QuickCount | None:
    if not _is_cacheable(request):
        return None
    with contextlib.suppress(OSError, ValueError, TypeError):
        return QuickCount(**json.loads(_path(request, folder).read_text("utf-8")))
    return None


def _write(request: CostRequest, folder: Path, count: QuickCount) -> None:
    """Cache a result, or an error that the same versions would raise again."""
    if not _is_cacheable(request) or "memory" in count.error or "process" in count.error:
        return
    path = _path(request, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(asdict(count)) + "\n")
