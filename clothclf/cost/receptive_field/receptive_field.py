"""Theoretical receptive field of an architecture's last feature map, from its own forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from clothclf.cost.receptive_field.layout import SPATIAL, Run, places, plain
from clothclf.cost.receptive_field.propagation import mixed_by
from clothclf.cost.receptive_field.rules import rule_for
from clothclf.cost.receptive_field.view import Interval, View
from clothclf.results import ReceptiveField

UNKNOWN = ReceptiveField(None, None, None)


def receptive_field(backbone: nn.Module, image: Tensor) -> ReceptiveField:
    """Follow which pixels each place depends on through `backbone.forward_features(image)`.

    Works on meta tensors, needs no weights, and leaves the model as it was. Norms count as fixed
    scales (as in evaluation mode); attention, squeeze-excitation and pooling over the whole map
    are told in `global_by` and left out of the pixels. Fields are `None` where an operator is met
    whose reach is not known.
    """
    forward: Any = getattr(backbone, "forward_features", None)
    if forward is None:
        return UNKNOWN
    follower = _Follower(backbone)
    follower.views[image] = _view_of_image(image)
    try:
        with torch.no_grad(), follower.named(), follower:
            features = forward(image)
    except Exception:  # what cannot be followed is unknown; counting has shown that it can be run
        return UNKNOWN
    found = [
        follower.views[leaf]
        for leaf in tree_leaves(features)
        if isinstance(leaf, Tensor) and leaf in follower.views
    ]
    answers = [_describe(view) for view in found]
    known = [answer for answer in answers if answer.pixels is not None]
    widest = max(known, key=lambda answer: answer.pixels or 0, default=None)
    told = next((answer.global_by for answer in answers if answer.global_by), "")
    if widest is None:
        return ReceptiveField(None, None, None, told)
    return ReceptiveField(widest.pixels, widest.stride, widest.padding, widest.global_by or told)


def _view_of_image(image: Tensor) -> View:
    _, channels, height, width = image.shape
    dims = (
        (),
        plain(channels),
        (Run("height", height, 1),),
        (Run("width", width, 1),),
    )
    return View(dims, {axis: Interval(0, 1) for axis in SPATIAL})


def _describe(view: View) -> ReceptiveField:
    """The field of one tensor; unknown where it has no places or something inexact fed it."""
    told = view.global_by
    runs = [run for dim in view.dims for run in places(dim)]
    found = []
    for axis in SPATIAL:
        steps = [run.step for run in runs if run.axis == axis]
        if not steps and view.reach.get(axis) is not None and runs:
            continue  # a map of one place along this axis: the other one tells
        if not steps or view.inexact or (view.windowed and not told):
            return ReceptiveField(None, None, None, told)
        reach = view.reach[axis]
        found.append((reach.end - reach.start, min(steps), -reach.start))
    if not found:
        return ReceptiveField(None, None, None, told)
    pixels, stride, padding = max(found)
    return ReceptiveField(pixels, stride, padding, told)


class _Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps for each tensor that comes from the image what its places depend on."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.backbone = backbone
        self.views = WeakTensorKeyDictionary()
        self.stack: list[tuple[str, str]] = [("", type(backbone).__name__)]
        self.recurrent = 0

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Hooks that say which module runs, and that take recurrent layers as one step."""
        handles = []
        for name, module in self.backbone.named_modules():
            enter, leave = self._scope(name, module)
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _scope(self, name: str, module: nn.Module) -> tuple[Callable[..., None], ...]:
        def enter(*_: Any) -> None:
            self.stack.append((name, type(module).__name__))
            self.recurrent += isinstance(module, nn.RNNBase)

        def leave(_: nn.Module, given: Any, made: Any) -> None:
            self.stack.pop()
            if isinstance(module, nn.RNNBase):
                self.recurrent -= 1
                if given[0] in self.views:
                    self._after_recurrent(given[0], made[0], f"{name} ({type(module).__name__})")

        return enter, leave

    def _after_recurrent(self, given: Tensor, made: Tensor, where: str) -> None:
        """A recurrent layer over a sequence: every place sees all of it."""
        view: View = self.views[given]
        kept = (*view.dims[:-1], plain(made.shape[-1]))
        mixed = mixed_by(view, view.dims[1], view.dims[:1], "recurrent layer", where)
        self.views[made] = mixed.with_dims(kept)

    def where(self) -> str:
        """The module that runs, as `name (Class)`."""
        name, kind = self.stack[-1]
        return f"{name} ({kind})" if name else kind

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if self.recurrent:
            return out
        given = tree_map(self._look_up, args)
        if not any(isinstance(leaf, View) for leaf in tree_leaves(given)):
            return out
        rule = rule_for(func.overloadpacket.__name__)
        views = rule(given, kwargs or {}, tree_map(_shape, out), self.scope())
        self._keep(out, views, args)
        return out

    def scope(self) -> tuple[str, tuple[str, ...]]:
        """Where we are, and the classes of all modules around."""
        return self.where(), tuple(kind for _, kind in self.stack)

    def _look_up(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return self.views[value] if value in self.views else torch.Size(value.shape)

    def _keep(self, out: Any, views: View | list[View | None], args: tuple[Any, ...]) -> None:
        outs = [out] if isinstance(out, Tensor) else list(out)
        each = views if isinstance(views, list) else [views] + [None] * (len(outs) - 1)
        for tensor, view in zip(outs, each, strict=True):
            if view is None or not isinstance(tensor, Tensor):
                continue
            self.views[tensor] = view
            base = tensor._base if tensor is args[0] and isinstance(args[0], Tensor) else None
            if base is not None and base in self.views:
                # Written through a view: whoever reads the whole sees what was written.
                self.views[base] = self.views[base].joined(view)


def _shape(value: Any) -> Any:
    return torch.Size(value.shape) if isinstance(value, Tensor) else value
