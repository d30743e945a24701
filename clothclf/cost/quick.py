"""What many architectures cost, by torch's counter alone: fast, and kept for the next time."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import itertools
import json
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from clothclf.cost.count import CostRequest
from clothclf.cost.worker_pool import ask_many
from clothclf.data.atomic import write_text
from clothclf.errors import CostError, UserError, first_line
from clothclf.settings import HeadSettings

FORMAT = 2
"""Raise it when the same network would be counted differently."""
FEW = 8
"""Up to so many are counted in this process; for more, others are started."""

Progress = Callable[[int, int], None]
"""Called with architectures done and architectures in all."""


@dataclass(frozen=True)
class QuickCount:
    """One forward pass of one image, and what the network weighs."""

    macs: int | None
    """Headline multiply-adds; None where they could not be counted."""
    params: int | None
    features: int
    """Length of a backbone's vector; 0 for timm's own network."""
    fault: str = ""
    """Why there are no figures, in one sentence."""
    training_macs: int | None = None
    """Of the form that trains, where macs and params are of another, deployed one; else None."""
    training_params: int | None = None
    """Likewise."""
    width: int = 0
    """Of the image that was counted, in pixels."""
    height: int = 0

    def with_head(self, head: HeadSettings, classes: int) -> QuickCount:
        """The same body with a head on it."""
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
    """A network without its classifier, at a size in pixels."""
    return CostRequest(architecture, image_size, 0, HeadSettings())


def own_request(architecture: str, image_size: int = 0) -> CostRequest:
    """timm's own network with its classifier; at its own size where that is 0."""
    return CostRequest(architecture, image_size, 0, HeadSettings(), False, own_classifier=True)


def count_many(
    requests: Sequence[CostRequest], folder: Path, progress: Progress | None = None
) -> list[QuickCount]:
    """Count each request, or read below `folder` what the same versions counted before.

    What cannot be counted has a fault. Architectures of one's own are counted every time.
    """
    found: dict[int, QuickCount] = {}
    for place, request in enumerate(requests):
        if (kept := _read(request, folder)) is not None:
            found[place] = kept
    missing = [place for place in range(len(requests)) if place not in found]
    places = {id(requests[place]): place for place in missing}

    def keep(request: CostRequest, answer: Any, fault: str) -> None:
        count = QuickCount(None, None, 0, fault) if fault else QuickCount(**answer)
        _keep(request, folder, count)
        found[places[id(request)]] = count
        if progress is not None:
            progress(len(found), len(requests))

    waiting = [requests[place] for place in missing]
    if len(waiting) > FEW:
        ask_many("body", waiting, min(os.cpu_count() or 1, len(waiting) // FEW + 1), keep)
    else:
        for request in waiting:
            keep(request, *_count(request))
    return [found[place] for place in range(len(requests))]


def count_backbone(request: CostRequest) -> dict[str, Any]:
    """Count in this process, on no memory; raises UserError where the network cannot be built."""
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
    trains = Form.of(model, record)
    other = None
    with contextlib.suppress(CostError):  # then it is deployed as it trains
        other = count_deployed_on_meta(request, model)
    _, height, width = record.input_size
    count = QuickCount(
        macs=(other or trains).macs,
        params=(other or trains).params,
        features=features,
        training_macs=trains.macs if other else None,
        training_params=trains.params if other else None,
        width=width,
        height=height,
    )
    return asdict(count)


def _count(request: CostRequest) -> tuple[Any, str]:
    told = logging.root.manager.disable
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return count_backbone(request), ""
    except UserError as error:
        fault = str(error)
    except MemoryError as error:
        fault = f"out of memory: {first_line(error)}"
    finally:
        logging.disable(told)  # counting silences what this process may want to hear later
    named = request.architecture in fault
    return None, fault if named else f"{request.architecture}: {fault}"


def _is_kept(request: CostRequest) -> bool:
    return ":" not in request.architecture


def _path(request: CostRequest, folder: Path) -> Path:
    parts = json.dumps([FORMAT, request.to_dict(), _versions()], sort_keys=True)
    return folder / "counts" / f"{hashlib.sha256(parts.encode()).hexdigest()[:16]}.json"


@cache
def _versions() -> list[str]:
    return [importlib.metadata.version(name) for name in ("torch", "timm")]


def _read(request: CostRequest, folder: Path) -> QuickCount | None:
    if not _is_kept(request):
        return None
    with contextlib.suppress(OSError, ValueError, TypeError):
        return QuickCount(**json.loads(_path(request, folder).read_text("utf-8")))
    return None


def _keep(request: CostRequest, folder: Path, count: QuickCount) -> None:
    """Keep a count, and a refusal too: the same versions refuse again."""
    if not _is_kept(request) or "memory" in count.fault or "process" in count.fault:
        return
    path = _path(request, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(asdict(count)) + "\n")
