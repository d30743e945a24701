"""Free memory is what the machine has, or what a control group leaves of it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

import clothclf.memory
from benchmark.engine.estimate import Estimate
from benchmark.workflows.plan_study import describe_fit
from clothclf.memory import available_memory_bytes

MIB = 2**20


def write_group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def write_own(root: Path, lines: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    """A job of 100 MiB, 60 of them in use, 20 of these a cache; the slice above has no limit."""
    write_own(tmp_path, "0::/slice/job\n")
    groups = tmp_path / "sys/fs/cgroup"
    write_group(groups / "slice", memory__max="max", memory__current=0)
    write_group(
        groups / "slice/job",
        memory__max=100 * MIB,
        memory__current=60 * MIB,
        memory__stat=f"anon {40 * MIB}\ninactive_file {20 * MIB}",
    )
    return tmp_path


def test_a_control_group_leaves_its_limit_less_what_is_held(version_2: Path) -> None:
    assert available_memory_bytes(version_2) == 60 * MIB


def test_a_limit_above_holds_for_what_is_below(version_2: Path) -> None:
    above = version_2 / "sys/fs/cgroup/slice"
    write_group(above, memory__max=50 * MIB, memory__current=45 * MIB)
    assert available_memory_bytes(version_2) == 5 * MIB


def test_control_groups_of_version_1_are_known(tmp_path: Path) -> None:
    """In a container its own group is the top one, whatever its path on the host."""
    write_own(tmp_path, "4:memory:/docker/0f3a\n3:cpuset:/docker/0f3a\n0::/\n")
    write_group(
        tmp_path / "sys/fs/cgroup/memory",
        memory__limit_in_bytes=64 * MIB,
        memory__usage_in_bytes=60 * MIB,
    )
    assert available_memory_bytes(tmp_path) == 4 * MIB


def test_without_a_limit_it_is_the_machine_s(tmp_path: Path) -> None:
    write_own(tmp_path, "0::/\n")
    assert available_memory_bytes(tmp_path) == pytest.approx(
        psutil.virtual_memory().available, rel=0.2
    )


def test_a_plan_says_what_a_control_group_has_no_room_for(
    version_2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clothclf.memory, "SYSTEM", version_2)
    result = Estimate("float32", 10.0, 90 * MIB, 80 * MIB)
    assert describe_fit(result) == "does not fit: needs 80 MiB, 60 MiB available"
