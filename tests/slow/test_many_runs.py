"""A study of many runs: time of each beyond its training, and what the command holds and leaves."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psutil
import pytest

from benchmark.runs.run_folder import study_folders
from tests.benchmark.conftest import COMMAND, TINY, environment

RUNS = 200
MAX_OVERHEAD_S = 2.5
MAX_GROWTH_BYTES = 64 * 2**20
STUDY = TINY.replace(", test_efficientnet", "").replace("seeds: [0]", f"seeds: {[*range(RUNS)]}")


def finished(folder: Path) -> int:
    return sum((item.path / "record.json").exists() for item in study_folders(folder, "tiny"))


def processes_of(folder: Path) -> list[str]:
    """Command lines of live processes that work in the folder."""
    result = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(folder) in line or str(folder) == process.info["cwd"]:
            result.append(line)
    return result


@pytest.mark.slow
def test_two_hundred_runs_take_little_each_and_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    log = tmp_path / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*COMMAND, "run", "--all", "-c", "tiny.yaml"],
            cwd=tmp_path,
            env=environment(),
            stdout=output,
            stderr=output,
        )
        parent = psutil.Process(process.pid)
        seen: dict[int, tuple[float, int, int]] = {}
        while process.poll() is None:
            time.sleep(0.2)
            done = finished(tmp_path / "mlruns")
            if done not in seen and 0 < done < RUNS:
                held = parent.memory_info().rss, parent.num_fds()
                seen[done] = time.monotonic(), *held
    assert process.returncode == 0, log.read_text()[-2000:]
    assert finished(tmp_path / "mlruns") == RUNS
    assert processes_of(tmp_path) == []

    first, last = min(seen), max(seen)
    records = [item.record() for item in study_folders(tmp_path / "mlruns", "tiny")]
    trained = sum(record.training.seconds for record in records if record is not None) / RUNS
    each = (seen[last][0] - seen[first][0]) / (last - first) - trained
    print(f"{each:.2f} s for each run beyond its training of {trained:.2f} s")
    early = [seen[number] for number in sorted(seen) if number >= RUNS // 10][:10]
    late = [seen[number] for number in sorted(seen)][-10:]
    grown = min(item[1] for item in late) - max(item[1] for item in early)
    print(f"memory grew by {grown / 2**20:.1f} MiB; {late[-1][2]} open files")
    assert each <= MAX_OVERHEAD_S
    assert grown <= MAX_GROWTH_BYTES
    assert min(item[2] for item in late) <= max(item[2] for item in early)
