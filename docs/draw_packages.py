"""Draw the packages and their imports into docs/architecture.md: `python docs/draw_packages.py`.

An arrow means that a package imports the other; arrows that follow from others are left out.
"""

from __future__ import annotations

from pathlib import Path

import grimp

PAGE = Path(__file__).parent / "architecture.md"
BEGIN = "<!-- begin: written by docs/draw_packages.py -->\n"
END = "<!-- end -->"


def imports(graph: grimp.ImportGraph, package: str) -> dict[str, set[str]]:
    """Return the imports between the children of a package, and of clothclf as a whole."""
    children = sorted(graph.find_children(package))
    found: dict[str, set[str]] = {}
    for child in children:
        if child.endswith((".__main__", ".errors")):
            continue
        modules = {child, *graph.find_descendants(child)}
        used = {
            used for module in modules for used in graph.find_modules_directly_imported_by(module)
        }
        found[child] = {
            other
            for other in children
            if other != child
            and not other.endswith(".errors")
            and used & {other, *graph.find_descendants(other)}
        }
    return found


def without_implied(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Remove arrows to what another imported package reaches; there are no cycles."""

    def reached(start: str) -> set[str]:
        return arrows[start].union(*(reached(other) for other in arrows[start]))

    return {
        name: others - set().union(*(reached(other) for other in others), set())
        for name, others in arrows.items()
    }


def diagram() -> str:
    """Return both packages as a Mermaid flowchart."""
    graph = grimp.build_graph("benchmark", "clothclf", exclude_type_checking_imports=True)
    lines = ["```mermaid", "flowchart TD"]
    for package in ("benchmark", "clothclf"):
        arrows = without_implied(imports(graph, package))
        lines.append(f"  subgraph {package}")
        lines += [f"    {key(name)}[{name.rpartition('.')[2]}]" for name in arrows]
        lines += [
            f"    {key(name)} --> {key(other)}"
            for name, others in arrows.items()
            for other in sorted(others)
        ]
        lines.append("  end")
    return "\n".join([*lines, "  benchmark --> clothclf", "```", ""])


def key(module: str) -> str:
    """Return the identifier of a module in the diagram."""
    return module.replace(".", "_")


def page() -> str:
    """Return the page with the present diagram."""
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}{diagram()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
