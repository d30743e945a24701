"""Who enters a selection: what was asked for, sized up, without what is too large or unfit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmark.select.selection import Entrant, Request
from benchmark.study import StudySettings
from clothclf.errors import UserError
from clothclf.results import Weights
from clothclf.settings import ArchitectureSettings

Tell = Callable[[str], None]


def find_entrants(
    entries: Sequence[ArchitectureSettings],
    study: StudySettings,
    request: Request,
    weights: dict[str, Weights],
    faults: dict[str, str],
) -> tuple[Entrant, ...]:
    """Size up architectures (names, no wildcards) and leave out what is not to enter.

    `weights` lacks those whose weights cannot be had, `faults` says why.
    """
    found = []
    for entry in entries:
        macs, params, fault = None, None, faults.get(entry.name, "")
        if entry.name in weights:
            macs, params, fault = _size(entry, study)
        out = fault or _too_large(macs, params, request)
        found.append(Entrant(architecture=entry, macs=macs, params=params, out=out))
    return tuple(found)


def resolve_weights(
    entries: Sequence[ArchitectureSettings], study: StudySettings
) -> tuple[dict[str, Weights], dict[str, str]]:
    """Where each architecture's parameters come from, and why where they cannot be had."""
    from clothclf.models.weights import WeightsResolver

    resolver = WeightsResolver("none" if study.model.mode == "scratch" else study.model.weights)
    weights: dict[str, Weights] = {}
    faults: dict[str, str] = {}
    for entry in entries:
        try:
            weights[entry.name] = resolver.resolve(entry.name)
        except UserError as error:
            faults[entry.name] = str(error)
    return weights, faults


def count_macs(name: str, image_size: int) -> tuple[int, int]:
    """Headline MACs and parameters of a body, counted on no memory; raises ArchitectureError."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from clothclf.models.architectures import create_for_size
    from clothclf.models.check import check_architecture

    check_architecture(name, image_size)
    try:
        with torch.device("meta"):
            model = create_for_size(name, image_size, num_classes=0).eval()
            pictures = torch.zeros(1, 3, image_size, image_size)
            with FlopCounterMode(display=False) as counter, torch.inference_mode():
                model(pictures)
    except Exception:  # a few compute with real numbers: they are built for once
        model = create_for_size(name, image_size, num_classes=0).eval()
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model(torch.zeros(1, 3, image_size, image_size))
    return counter.get_total_flops() // 2, sum(item.numel() for item in model.parameters())


def _size(
    entry: ArchitectureSettings, study: StudySettings
) -> tuple[int | None, int | None, str]:
    try:
        macs, params = count_macs(entry.name, study.data.image_size)
    except UserError as error:
        return None, None, str(error)
    return macs, params, ""


def _too_large(macs: int | None, params: int | None, request: Request) -> str:
    limits = (
        (macs, request.max_gmacs, 1e9, "GMACs"),
        (params, request.max_params, 1e6, "M parameters"),
    )
    for count, limit, unit, words in limits:
        if limit is not None and count is not None and count > limit * unit:
            return f"{count / unit:.3g} {words}, more than {limit:g}"
    return ""
