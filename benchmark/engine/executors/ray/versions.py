"""Compare library versions between machines without importing the libraries."""

from __future__ import annotations

from collections.abc import Callable

from clothclf.cost.counters.registry import PACKAGES

MATTER = (
    *("bench-architectures", "torch", "timm", "numpy", "pandas", "pillow"),
    *(name for name in PACKAGES if name != "torch"),
    "safetensors",
)
"""Libraries that affect the results of a run."""
CODE = "bench's code"


def finder() -> Callable[[], dict[str, str]]:
    """Return a function that returns the installed versions by library.

    The function is nested so that Ray sends its code: it also works on nodes without bench.
    """
    names, code = MATTER, CODE

    def find() -> dict[str, str]:
        import hashlib
        import importlib.metadata
        import importlib.util
        import platform
        from pathlib import Path

        versions = {"python": ".".join(platform.python_version_tuple()[:2])}
        for name in names:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                versions[name] = ""
        digest = hashlib.sha256()
        for package in ("benchmark", "clothclf"):
            spec = importlib.util.find_spec(package)
            for root in (spec.submodule_search_locations or ()) if spec else ():
                for path in sorted(Path(root).rglob("*.py")):
                    digest.update(path.relative_to(root).as_posix().encode())
                    digest.update(path.read_bytes())
        versions[code] = digest.hexdigest()[:12]
        return versions

    return find


def difference(here: dict[str, str], there: dict[str, str], node: str) -> str:
    """Describe the differences of another machine in one sentence; empty if there are none."""
    differing = [
        f"{name} {there.get(name) or '(none)'} (this machine: {version or '(none)'})"
        for name, version in here.items()
        if there.get(name) != version
    ]
    if len(differing) > 1:  # differing libraries say more than differing code
        differing = [text for text in differing if not text.startswith(CODE)]
    if not differing:
        return ""
    message = "; ".join(differing)
    return (
        f"node {node} has {message}; install the same versions on all nodes (pinned in "
        "constraints.txt)"
    )
