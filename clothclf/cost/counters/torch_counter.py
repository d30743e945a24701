"""Count with torch's FlopCounterMode on the meta device, by operator, module and call."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from clothclf.results import CounterResult

CONVENTION = (
    "1 for each multiply-add of convolutions, linear layers, matrix products and attention "
    "(torch counts 2, halved here); biases, norms, activations and pools are free"
)

FLOAT32_BYTES = 4
# Estimated number of simultaneously live tensors of the largest size, including workspaces.
LIVE_TENSORS = 6
# Names of torch's operators in reports. A linear layer without bias and a product of two matrices
# are the same operator (mm).
OPERATORS = {
    "convolution": "convolution",
    "_convolution": "convolution",
    "mm": "linear",
    "addmm": "linear",
    "bmm": "matrix product",
    "baddbmm": "matrix product",
}
# Operators without arithmetic, which would clutter the list of uncounted operators.
_SHAPE_ONLY = frozenset(
    (
        *("view", "_unsafe_view", "reshape", "permute", "transpose", "t", "expand", "as_strided"),
        *("slice", "select", "split", "split_with_sizes", "unbind", "unsqueeze", "squeeze"),
        *("clone", "copy_", "_to_copy", "lift_fresh", "detach", "alias", "cat", "stack", "roll"),
        *("empty", "zeros", "ones", "full", "arange", "index", "new_zeros", "new_empty"),
        *("zeros_like", "empty_like"),
    )
)


@dataclass(frozen=True)
class LayerCall:
    """One call of a leaf layer (one without submodules)."""

    name: str
    """Dotted name of the layer; the first one if it has several."""
    layer: nn.Module
    input_shape: tuple[int, ...] | None
    """Shape of the first positional tensor."""
    output_shape: tuple[int, ...] | None
    macs: int


@dataclass
class ForwardRecord:
    """Record of one forward pass of one image."""

    result: CounterResult
    activations: int
    """Output elements of all counted operators; attention counts its scores and its output."""
    largest_tensor: int
    """Number of elements of the largest tensor that any operator returned."""
    input_size: tuple[int, ...]
    """Channels, height and width of the image that the network received."""
    calls: list[LayerCall] = field(default_factory=list)
    """Calls of leaf layers, in order."""
    inside: dict[str, dict[str, int]] = field(default_factory=dict)
    """MACs by operator that a module with submodules computes outside of them."""
    inclusive: dict[str, int] = field(default_factory=dict)
    """MACs of each module including its submodules, over all calls."""
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Output shape of each module's last call, if it returned a tensor."""

    @property
    def live_elements(self) -> int:
        """Estimated elements that the forward pass holds at once, without parameters."""
        return LIVE_TENSORS * self.largest_tensor


def count_with_torch(model: nn.Module, image: Tensor, by_layer: bool = True) -> ForwardRecord:
    """Run `model(image)` and count; does not change the model.

    Works best on meta tensors, on which an LSTM decomposes into countable products. Without
    `by_layer`, it is slightly faster and returns totals only. Exceptions of the model pass through.
    """
    elements: Counter[str] = Counter()
    counter = FlopCounterMode(display=False, custom_mapping=_watched_formulas(elements))
    others = _Others(frozenset(counter.flop_registry))
    watch = _ModuleWatch(model, counter)
    with torch.no_grad(), contextlib.ExitStack() as stack:
        input_size = stack.enter_context(_first_image())
        if by_layer:
            stack.enter_context(watch.hooked())
            stack.enter_context(others)
        stack.enter_context(counter)
        model(image)
    by_operator: Counter[str] = Counter()
    for operator, flops in counter.flop_counts["Global"].items():
        by_operator[operator_name(operator)] += flops // 2
    result = CounterResult(
        macs=counter.get_total_flops() // 2,
        by_operator=dict(by_operator),
        by_module=watch.exclusive(),
        not_counted=dict(others.seen),
        convention=CONVENTION,
    )
    return ForwardRecord(
        result=result,
        activations=elements["output"],
        largest_tensor=others.largest,
        input_size=tuple(input_size),
        calls=watch.calls,
        inside={name: dict(ops) for name, ops in watch.inside.items() if +ops},
        inclusive=dict(watch.inclusive),
        shapes=watch.shapes,
    )


@contextlib.contextmanager
def _first_image() -> Iterator[list[int]]:
    """Yield a list that receives channels, height and width of the first image input.

    The size is taken from a module's actual input, so that it is that of the counted image.
    """
    size: list[int] = []

    def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        shape = _shape(inputs)
        if shape is not None and len(shape) == 4:
            size.extend(shape[1:])
            handle.remove()

    handle = nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield size
    finally:
        handle.remove()


def operator_name(operator: object) -> str:
    """Return the name of one of torch's operators in reports."""
    name = str(operator).rsplit(".", maxsplit=1)[-1]
    return "attention" if "attention" in name else OPERATORS.get(name, name)


def _watched_formulas(elements: Counter[str]) -> dict[Any, Any]:
    """Wrap torch's formulas to also add up output elements."""

    def watched(formula: Callable[..., int], attention: bool) -> Callable[..., int]:
        def formula_and_elements(*shapes: Any, out_shape: Any = None, **options: Any) -> int:
            output = out_shape[0] if isinstance(out_shape, (tuple, list)) and attention else None
            elements["output"] += _size(output if attention else out_shape)
            if attention:  # the scores [batch, heads, queries, keys] are internal to fused kernels
                elements["output"] += _size((*shapes[0][:-1], shapes[1][-2]))
            return formula(*shapes, out_val=out_shape, **options)

        return formula_and_elements

    names = {packet: str(packet).rsplit(".", maxsplit=1)[-1] for packet in flop_registry}
    return {
        packet: watched(flop_registry[packet], "attention" in name)
        for packet, name in names.items()
        if name in OPERATORS or (name.startswith("_scaled_dot_product") and "backward" not in name)
    }


def _size(shape: Any) -> int:
    return int(torch.Size(shape).numel())


class _Others(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Record operators that no formula covers, and the largest tensor."""

    def __init__(self, covered: frozenset[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.covered = covered
        self.seen: Counter[str] = Counter()
        self.largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet not in self.covered:
            name = packet.__name__
            if name not in _SHAPE_ONLY:
                self.seen[name] += 1
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.largest = max(self.largest, tensor.numel())
        return out


@dataclass
class _Frame:
    before: dict[Any, int]
    children: Counter[Any] = field(default_factory=Counter)


class _ModuleWatch:
    """Attribute the counter's running totals to modules, call by call."""

    def __init__(self, model: nn.Module, counter: FlopCounterMode) -> None:
        self.counter = counter
        self.names = {module: name for name, module in model.named_modules()}
        self.leaves = {module for module in self.names if not any(module.children())}
        self.stack: list[_Frame] = []
        self.calls: list[LayerCall] = []
        self.inside: dict[str, Counter[str]] = {}
        self.inclusive: Counter[str] = Counter()
        self.shapes: dict[str, tuple[int, ...]] = {}

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Register hooks on every module, and remove them on exit."""
        handles = []
        for module in self.names:
            handles.append(module.register_forward_pre_hook(self._enter))
            handles.append(module.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def exclusive(self) -> dict[str, int]:
        """Return MACs by module: leaf layers, and what containers compute themselves."""
        totals: Counter[str] = Counter()
        for call in self.calls:
            totals[call.name] += call.macs
        for name, operators in self.inside.items():
            totals[name] += sum(operators.values())
        return {name: macs for name, macs in totals.items() if macs}

    def _enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.stack.append(_Frame(dict(self.counter.flop_counts["Global"])))

    def _leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        frame = self.stack.pop()
        now = self.counter.flop_counts["Global"]
        grown = Counter({op: flops - frame.before.get(op, 0) for op, flops in now.items()})
        if self.stack:
            self.stack[-1].children.update(grown)
        name = self.names[module]
        macs = sum(grown.values()) // 2
        self.inclusive[name] += macs
        if isinstance(output, Tensor):
            self.shapes[name] = tuple(output.shape)
        if module in self.leaves:
            self.calls.append(LayerCall(name, module, _shape(inputs), _shape(output), macs))
            return
        own = self.inside.setdefault(name, Counter())
        for operator, flops in grown.items():
            own[operator_name(operator)] += (flops - frame.children[operator]) // 2


def _shape(value: Any) -> tuple[int, ...] | None:
    first = value[0] if isinstance(value, (tuple, list)) and value else value
    return tuple(first.shape) if isinstance(first, Tensor) else None
