"""Registry of variants: runtimes at a precision, built in or from plug-ins. Imports none of them.

To add a variant, write a `base.Runtime` in a module of `deploy/runtimes/` and one entry of
`VARIANTS`, or provide it from another package by an entry point in the group `bench.variants`.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Literal, cast

from benchmark.errors import DeployError
from benchmark.runs.deployments import NAME
from clothclf.errors import did_you_mean, first_line

if TYPE_CHECKING:
    from benchmark.deploy.base import Runtime

GROUP = "bench.variants"
PackedRuntime = Literal["onnxruntime", "openvino"]
REFERENCE = "torch"
"""Variant with the run's own float32 predictions; the accuracy of all others is paired with it."""
ONNX = "onnxruntime"
"""Variant whose file others are made from."""


@dataclass(frozen=True)
class Variant:
    """One runtime at one precision."""

    name: str
    module: str = ""
    """Module in `deploy/runtimes/` whose `RUNTIMES` has it; empty for a plug-in."""
    packages: tuple[str, ...] = ()
    """Modules that must be installed, besides those of bench."""
    from_onnx: bool = False
    """Whether it is made from the ONNX file."""
    base: str = REFERENCE
    """Variant whose speed it is compared with."""
    default: bool = True
    """Whether it is measured unless others are named."""
    packed_runtime: PackedRuntime | None = None
    """Library that runs it in a kit, with numpy alone; None if a kit cannot run it."""

    def runtime(self) -> Runtime:
        """Import the runtime; raises DeployError if a plug-in cannot be loaded."""
        if not self.module:
            return _load_plugin(self.name)
        module = importlib.import_module(f"benchmark.deploy.runtimes.{self.module}")
        return cast("Runtime", module.RUNTIMES[self.name])

    def missing(self) -> str:
        """Sentence on what must be installed first; empty if all is there."""
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if not missing:
            return ""
        return f"{missing[0]} is not installed: pip install 'bench-architectures[deploy]'"


_EXPORT = ("onnx", "onnxscript", "onnxruntime")
_OPENVINO = (*_EXPORT, "openvino")
VARIANTS = {
    variant.name: variant
    for variant in (
        Variant(REFERENCE, "torch_runtime"),
        Variant("torch-bfloat16", "torch_runtime", default=False),
        Variant("torch-compile", "torch_runtime", default=False),
        Variant(ONNX, "onnx_runtime", _EXPORT, packed_runtime="onnxruntime"),
        Variant(
            "onnxruntime-int8",
            "onnx_runtime",
            _EXPORT,
            from_onnx=True,
            base=ONNX,
            packed_runtime="onnxruntime",
        ),
        Variant(
            "openvino", "openvino_runtime", _OPENVINO, from_onnx=True, packed_runtime="openvino"
        ),
        Variant(
            "openvino-int8",
            "openvino_runtime",
            (*_OPENVINO, "nncf"),
            from_onnx=True,
            base="openvino",
            packed_runtime="openvino",
        ),
    )
}


def choose_variants(names: Sequence[str]) -> list[Variant]:
    """Return the named variants (the default ones for no names, all built-in ones for `all`).

    With each comes the variant that its speed is compared with, and before all the reference.
    Raises DeployError for an unknown name.
    """
    chosen = [variant.name for variant in VARIANTS.values() if variant.default]
    if names:
        chosen = [name for item in names for name in (VARIANTS if item == "all" else (item,))]
    variants = [find_variant(name) for name in chosen]
    with_bases = [find_variant(REFERENCE)]
    for variant in variants:
        with_bases += [find_variant(variant.base), variant]
    return list({variant.name: variant for variant in with_bases}.values())


def find_variant(name: str) -> Variant:
    """Return a variant by its name; raises DeployError if there is none."""
    if name in VARIANTS:
        return VARIANTS[name]
    installed = {entry.name for entry in entry_points(group=GROUP)}
    plugins = sorted(name for name in installed if re.fullmatch(NAME, name))
    if name in plugins:
        return Variant(name)
    known = ", ".join(VARIANTS)
    hint = did_you_mean(name, [*VARIANTS, *plugins])
    raise DeployError(
        f"unknown variant {name[:80]!r}{hint}; built-in variants are {known}; "
        f"plug-ins: {', '.join(plugins) or 'none'}"
    )


def _load_plugin(name: str) -> Runtime:
    entry = next(entry for entry in entry_points(group=GROUP) if entry.name == name)
    where = f"variant {name}: plug-in {entry.value}"
    try:
        runtime = entry.load()
    except Exception as error:  # plug-ins raise arbitrary exceptions
        raise DeployError(
            f"{where} cannot be loaded: {type(error).__name__}: {first_line(error)}"
        ) from None
    lacks = [part for part in ("build", "load", "version") if not callable(_part(runtime, part))]
    lacks += [part for part in ("title", "precision") if not isinstance(_part(runtime, part), str)]
    if lacks:
        raise DeployError(f"{where} is not a runtime: it lacks {', '.join(lacks)}")
    return cast("Runtime", runtime)


def _part(runtime: object, name: str) -> object:
    return getattr(runtime, name, None)
