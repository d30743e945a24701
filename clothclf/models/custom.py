"""Custom architectures, named `module:function`: find, hash and build them."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clothclf.errors import ArchitectureError

if TYPE_CHECKING:
    from torch import nn

WRITTEN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
SOURCE = "source_sha256"
"""Attribute of a custom network: SHA-256 of the file that defines its function."""


def is_custom(name: str) -> bool:
    """Return whether a name is a custom architecture's (`module:function`)."""
    return ":" in name


def source_sha256(name: str) -> str:
    """Return the SHA-256 of the file that defines an architecture, without executing it.

    Raises ArchitectureError if the module is not found or is not a Python file.
    """
    return hashlib.sha256(_source(name).read_bytes()).hexdigest()


def create_custom(name: str, **options: Any) -> nn.Module:
    """Call `function(num_classes=…, img_size=…)` with the options that it accepts.

    Raises ArchitectureError, with one sentence, for any exception in the module.
    """
    from torch import nn

    function = load_function(name)
    try:
        model = function(**_accepted(function, options))
    except (Exception, SystemExit) as error:  # user code may raise anything
        message = f"architecture {name!r} cannot be built: {_describe(error)}"
        raise ArchitectureError(message) from error
    if not isinstance(model, nn.Module):
        raise ArchitectureError(
            f"architecture {name!r} returns {type(model).__name__}, not a torch.nn.Module"
        )
    # Part of cache keys, so that a change of the code invalidates cached results.
    model.__dict__[SOURCE] = source_sha256(name)
    return model


def load_function(name: str) -> Callable[..., Any]:
    """Import an architecture's function from the current folder or an installed package."""
    path = _source(name)
    module_name, _, function_name = name.partition(":")
    try:
        with _current_folder_first():
            module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise ArchitectureError(
            f"architecture {name!r}: {path} cannot be imported: {_describe(error)}"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        problem = (
            f"has no {function_name!r}"
            if function is None
            else f"defines {function_name!r}, which is not a function"
        )
        raise ArchitectureError(f"architecture {name!r}: {path} {problem}")
    result: Callable[..., Any] = function
    return result


def _source(name: str) -> Path:
    """Find the file of a module without executing any of its parent packages."""
    if not WRITTEN.fullmatch(name):
        raise ArchitectureError(
            f"architecture {name[:80]!r} is neither a timm model name nor module:function"
        )
    module_name = name.partition(":")[0]
    spec: ModuleSpec | None = None
    dotted, path = "", None
    with _current_folder_first():
        for part in module_name.split("."):
            dotted = f"{dotted}.{part}".lstrip(".")
            spec = _find(dotted, path)
            if spec is None:
                raise ArchitectureError(
                    f"architecture {name!r}: module {dotted!r} was not found in the current folder "
                    f"({Path.cwd()}) or among installed packages"
                )
            path = spec.submodule_search_locations
    file = Path(spec.origin) if spec is not None and spec.origin else None
    if file is None or file.suffix != ".py" or not file.is_file():
        raise ArchitectureError(
            f"architecture {name!r}: module {module_name!r} is not a Python file"
        )
    return file


def _find(name: str, path: Any) -> ModuleSpec | None:
    importlib.invalidate_caches()
    for finder in sys.meta_path:
        if (spec := finder.find_spec(name, path)) is not None:
            return spec
    return None


@contextmanager
def _current_folder_first() -> Iterator[None]:
    """Search the current folder first, like `python -m`; afterwards, search it last."""
    here = str(Path.cwd())
    before = list(sys.path)
    sys.path.insert(0, here)
    try:
        yield
    finally:
        # A file there must not shadow a library's module in later imports.
        sys.path[:] = [*before, *([] if here in before else [here])]


def _accepted(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    if any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values()):
        return options
    return {name: value for name, value in options.items() if name in parameters}


def _describe(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
