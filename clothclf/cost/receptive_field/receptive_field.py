"""Theoretical receptive field of the last feature map, computed from a forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from clothclf.cost.receptive_field.layout import SPATIAL, Run, plain, spatial_runs
from clothclf.cost.receptive_field.propagation import mixed_by
from clothclf.cost.receptive_field.rules import rule_for
from clothclf.cost.receptive_field.view import Interval, View
from clothclf.results import ReceptiveField

UNKNOWN = ReceptiveField(None, None, None)


def receptive_field(backbone: nn.Module, image: Tensor) -> ReceptiveField:
    """Propagate receptive fields through `backbone.forward_features(image)`.

    Works on meta tensors, needs no weights, and does not change the model. Norms count as fixed
    scales (as in evaluation mode). Attention, squeeze-excitation and pooling over the whole map are
    reported in `global_by` and excluded from the pixels. All fields are None after an operator
    whose extent is unknown.
    """
    forward: Any = getattr(backbone, "forward_features", None)
    if forward is None:
        return UNKNOWN
    tracker = _Tracker(backbone)
    tracker.views[image] = _view_of_image(image)
    try:
        with torch.no_grad(), tracker.named(), tracker:
            features = forward(image)
    except Exception:  # an unsupported operator; counting has shown that the model runs
        return UNKNOWN
    outputs = [
        tracker.views[leaf]
        for leaf in tree_leaves(features)
        if isinstance(leaf, Tensor) and leaf in tracker.views
    ]
    fields = [_describe(view) for view in outputs]
    known = [field for field in fields if field.pixels is not None]
    widest = max(known, key=lambda field: field.pixels or 0, default=None)
    global_by = next((field.global_by for field in fields if field.global_by), "")
    if widest is None:
        return ReceptiveField(None, None, None, global_by)
    global_by = widest.global_by or global_by
    return ReceptiveField(widest.pixels, widest.stride, widest.padding, global_by)


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
    """Return the receptive field of one tensor; unknown if it is inexact or has no positions."""
    global_by = view.global_by
    runs = [run for dim in view.dims for run in spatial_runs(dim)]
    axes = []
    for axis in SPATIAL:
        steps = [run.step for run in runs if run.axis == axis]
        if not steps and view.extent.get(axis) is not None and runs:
            continue  # a single position along this axis: use the other axis
        if not steps or view.inexact or (view.windowed and not global_by):
            return ReceptiveField(None, None, None, global_by)
        extent = view.extent[axis]
        axes.append((extent.end - extent.start, min(steps), -extent.start))
    if not axes:
        return ReceptiveField(None, None, None, global_by)
    pixels, stride, padding = max(axes)
    return ReceptiveField(pixels, stride, padding, global_by)


class _Tracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Track, for each tensor derived from the image, what its positions depend on."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.backbone = backbone
        self.views = WeakTensorKeyDictionary()
        self.stack: list[tuple[str, str]] = [("", type(backbone).__name__)]
        self.recurrent = 0

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Register hooks that track the current module and treat recurrent layers as one step."""
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

        def leave(_: nn.Module, given: Any, output: Any) -> None:
            self.stack.pop()
            if isinstance(module, nn.RNNBase):
                self.recurrent -= 1
                if given[0] in self.views:
                    self._after_recurrent(given[0], output[0], f"{name} ({type(module).__name__})")

        return enter, leave

    def _after_recurrent(self, given: Tensor, output: Tensor, where: str) -> None:
        """Apply the rule of recurrent layers: every position sees the whole sequence."""
        view: View = self.views[given]
        dims = (*view.dims[:-1], plain(output.shape[-1]))
        mixed = mixed_by(view, view.dims[1], view.dims[:1], "recurrent layer", where)
        self.views[output] = mixed.with_dims(dims)

    def where(self) -> str:
        """Return the current module as `name (Class)`."""
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
        """Return the current module, and the classes of all enclosing modules."""
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
                # An in-place write to a view also changes its base tensor.
                self.views[base] = self.views[base].joined(view)


def _shape(value: Any) -> Any:
    return torch.Size(value.shape) if isinstance(value, Tensor) else value
