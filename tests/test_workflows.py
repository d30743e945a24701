"""Workflows call the targets of make, pin their actions, and get few permissions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
PINNED = re.compile(r"[\w./-]+@(v\d+(\.\d+)*|[0-9a-f]{40}|release/v\d+)")
WRITES = {
    "docs.yml": {"publish": {"pages", "id-token"}},
    "release.yml": {"publish": {"id-token"}, "notes": {"contents"}},
}
"""Jobs that may write, and what."""


def read(path: Path) -> dict[str, Any]:
    """The workflow; YAML 1.1 reads its key `on` as true."""
    values = yaml.safe_load(path.read_text("utf-8"))
    return {("on" if key is True else key): value for key, value in values.items()}


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_pinned(path: Path) -> None:
    used = [step["uses"] for step in steps(read(path)) if "uses" in step]
    assert used
    assert [name for name in used if not PINNED.fullmatch(name)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_permissions_are_the_least(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    written = {
        name: {key for key, value in job["permissions"].items() if value == "write"}
        for name, job in workflow["jobs"].items()
        if "permissions" in job
    }
    assert written == WRITES.get(path.name, {})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_jobs_end_and_keep_no_credentials(path: Path) -> None:
    workflow = read(path)
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_events_are_no_part_of_scripts(path: Path) -> None:
    """A branch's name in a script would be run; an environment variable is not."""
    scripts = [step["run"] for step in steps(read(path)) if "run" in step]
    used = re.findall(r"\$\{\{\s*([\w.-]+)", "\n".join(scripts))
    assert {name.split(".")[0] for name in used} <= {"matrix"}


def test_make_targets_exist() -> None:
    called: set[str] = set()
    for path in FILES:
        workflow = read(path)
        for step in steps(workflow):
            called |= set(re.findall(r"\bmake ([a-z-]+)", step.get("run", "")))
        for job in workflow["jobs"].values():
            called |= set(job.get("strategy", {}).get("matrix", {}).get("target", []))
    assert called <= TARGETS
    assert {"check", "test-quick", "test-versions", "docs", "dist", "faults", "cluster"} <= called


def test_every_supported_python_is_tested() -> None:
    matrix = read(ROOT / ".github/workflows/test.yml")["jobs"]["quick"]["strategy"]["matrix"]
    classified = re.findall(r"Python :: (3\.\d+)", (ROOT / "setup.cfg").read_text("utf-8"))
    assert matrix["python"] == classified
