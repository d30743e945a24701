"""Architectures of one's own, named `module:function`: found, hashed before they run, built."""

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
"""Attribute of a network of one's own: hash of the file that its function stands in."""


def is_own(name: str) -> bool:
    """Whether a name is that of a function, and not timm's."""
    return ":" in name


def source_sha256(name: str) -> str:
    """Hash of the file that holds an architecture's function; nothing of it is run.

    Raises ArchitectureError where there is no such module, or no file of it.
    """
    return hashlib.sha256(_source(name).read_bytes()).hexdigest()


def create_own(name: str, **options: Any) -> nn.Module:
    """Call `function(num_classes=…, img_size=…)`, with those of the options that it takes.

    Raises ArchitectureError, in one sentence, for whatever goes wrong in the module.
    """
    from torch import nn

    function = load_function(name)
    try:
        model = function(**_taken(function, options))
    except (Exception, SystemExit) as error:  # it is the user's code, and raises what it likes
        raise ArchitectureError(f"architecture {name!r} cannot be built: {_told(error)}") from error
    if not isinstance(model, nn.Module):
        raise ArchitectureError(
            f"architecture {name!r} gives {type(model).__name__}, not a torch.nn.Module"
        )
    # What is computed with it and kept must not outlive a change of its code.
    model.__dict__[SOURCE] = source_sha256(name)
    return model


def load_function(name: str) -> Callable[..., Any]:
    """Import an architecture's function, from the current folder or from what is installed."""
    path = _source(name)
    module_name, _, function_name = name.partition(":")
    try:
        with _current_folder_first():
            module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # it is the user's code, and raises what it likes
        raise ArchitectureError(
            f"architecture {name!r}: {path} cannot be imported: {_told(error)}"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        what = "has no" if function is None else "has, but not as a function,"
        raise ArchitectureError(f"architecture {name!r}: {path} {what} {function_name!r}")
    found: Callable[..., Any] = function
    return found


def _source(name: str) -> Path:
    """The file of the module, found without running any of its packages."""
    if not WRITTEN.fullmatch(name):
        raise ArchitectureError(
            f"architecture {name[:80]!r} is neither a name of timm's nor module:function"
        )
    module_name = name.partition(":")[0]
    spec: ModuleSpec | None = None
    found, path = "", None
    with _current_folder_first():
        for part in module_name.split("."):
            found = f"{found}.{part}".lstrip(".")
            spec = _find(found, path)
            if spec is None:
                raise ArchitectureError(
                    f"architecture {name!r}: there is no module {found!r} in the current folder "
                    f"({Path.cwd()}), nor is one installed"
                )
            path = spec.submodule_search_locations
    file = Path(spec.origin) if spec is not None and spec.origin else None
    if file is None or file.suffix != ".py" or not file.is_file():
        raise ArchitectureError(f"architecture {name!r}: module {module_name!r} is no Python file")
    return file


def _find(name: str, path: Any) -> ModuleSpec | None:
    importlib.invalidate_caches()
    for finder in sys.meta_path:
        if (spec := finder.find_spec(name, path)) is not None:
            return spec
    return None


@contextmanager
def _current_folder_first() -> Iterator[None]:
    """Look in the current folder as `python -m` does; what is imported later finds it, too."""
    here = str(Path.cwd())
    before = list(sys.path)
    sys.path.insert(0, here)
    try:
        yield
    finally:
        # A file there must not hide a library's module from those who import it later.
        sys.path[:] = [*before, *([] if here in before else [here])]


def _taken(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    if any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values()):
        return options
    return {name: value for name, value in options.items() if name in parameters}


def _told(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
