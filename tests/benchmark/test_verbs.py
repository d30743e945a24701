"""`bench cost`, `bench data` and `bench ui`, as a user calls them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import click
import psutil
import pytest
from PIL import Image

from benchmark.cli import main
from tests.benchmark.conftest import (
    COMMAND,
    Bench,
    StudyRun,
    free_port,
    heed_signals,
    run_bench,
)


def test_cost_of_a_bare_name_is_that_of_timms_own_network(bench: Bench) -> None:
    """Its own size and classifier; a fault of one architecture leaves the others' rows."""
    done = bench("cost", "test_resnet", "inception_v3", "--image-size", "32", "--format", "csv")
    assert done.code == 1
    assert "Traceback" not in done.err
    resnet, inception = csv.DictReader(io.StringIO(done.out))
    assert resnet["architecture"] == "test_resnet"
    assert int(resnet["flops"]) == 2 * int(resnet["macs"])
    assert resnet["macs"] == resnet["macs_torch"]
    assert inception["macs"] == ""
    assert "inception_v3" in inception["reason"]


def test_cost_of_a_study_has_its_heads_and_its_size(bench: Bench) -> None:
    done = bench("cost", "-c", "tiny.yaml", "--format", "json")
    assert done.code == 0, done.err
    costs = {cost["architecture"]: cost for cost in json.loads(done.out)["costs"]}
    assert set(costs) == {"test_resnet", "test_efficientnet"}
    assert {cost["image_size"] for cost in costs.values()} == {32}
    # A frozen backbone of 96 features, and a head of 11 classes that alone trains.
    assert costs["test_resnet"]["trainable_params"] == 96 * 11 + 11


def test_detail_shows_modules_whose_shares_add_up(bench: Bench) -> None:
    done = bench("cost", "test_resnet", "--detail")
    assert done.code == 0, done.err
    rows = re.findall(r"^ {4}(\w+) +\w+ +[\d,]+ +[\d,]+ +([\d.]+) %", done.out, re.M)
    assert {"conv1", "layer1", "fc"} <= {name for name, _ in rows}
    assert sum(float(share) for _, share in rows) == pytest.approx(100, abs=0.5)


def test_cost_can_be_measured_too(bench: Bench) -> None:
    asked = ("cost", "test_resnet", "--image-size", "32", "--measure", "--device", "cpu")
    done = bench(*asked, "--format", "csv")
    assert done.code == 0, done.err
    (row,) = csv.DictReader(done.out.splitlines())
    assert float(row["latency_ms_p95"]) >= float(row["latency_ms_median"]) > 0
    achieved = int(row["macs"]) * float(row["best_images_per_s"]) / 1e9
    assert float(row["best_gmacs_per_s"]) == pytest.approx(achieved)


def test_a_device_that_is_not_there_is_reported_and_the_count_is_kept(bench: Bench) -> None:
    done = bench("cost", "test_resnet", "--image-size", "32", "--measure", "--device", "cuda:9")
    assert done.code == 1
    assert "cuda:9 is not available" in done.err
    assert "Traceback" not in done.err
    assert "test_resnet" in done.out


def test_a_plan_says_what_runs_will_take(bench: Bench, tmp_path: Path) -> None:
    """Probed once: asking again reads what was found."""
    first = bench("plan", "-c", "tiny.yaml")
    assert first.code == 0, first.err
    for name in ("test_resnet-s0", "test_efficientnet-s0"):
        (line,) = (text for text in first.out.splitlines() if name in text)
        assert re.search(r"float32 +(\d+ min )?\d+ s +[\d,]+ MiB +to run", line)
    left = r"done: 0 of 2 runs; left: at most (\d+ min )?\d+ s for 2 runs, one after the other"
    assert re.search(left, first.err)
    assert len(list(tmp_path.glob("mlruns/cache/probes/*.json"))) == 2


def test_times_that_cannot_be_trusted_are_taken_again(bench: Bench, tmp_path: Path) -> None:
    """Taken under load, uneven, or a week old: none of an absurd time reaches the next plan."""
    asked = ("plan", "test_resnet", "-c", "tiny.yaml")
    assert bench(*asked).code == 0
    for changes, age_s in (({"busy": "others"}, 0), ({"spread": 2.0}, 0), ({}, 7 * 86_400)):
        for file in tmp_path.glob("mlruns/cache/probes/**/*.json"):
            saved = {**json.loads(file.read_text()), "startup_s": 1e6, "busy": "", "spread": 0.0}
            file.write_text(json.dumps({**saved, **changes}))
            os.utime(file, (time.time() - age_s,) * 2)
        again = bench(*asked)
        assert "[1/1] probing test_resnet-s0" in again.err
        assert not re.search(r"\d{3} h", again.out + again.err)  # 10^6 seconds


def test_a_busy_machine_is_said_and_its_times_are_not_kept_for_later(bench: Bench) -> None:
    spin = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        result = bench("plan", "test_resnet", "-c", "tiny.yaml")
    finally:
        for process in spin:
            process.kill()
    assert "cores while measuring: times are longer than on an idle machine" in result.err
    assert "probing test_resnet-s0" in bench("plan", "test_resnet", "-c", "tiny.yaml").err


def test_a_plan_of_what_cannot_be_started_fails_with_the_reason(bench: Bench) -> None:
    done = bench("plan", "test_resnet", "-c", "tiny.yaml", "--set", "device=cuda:9")
    assert done.code == 1
    assert "cuda:9 is not available" in done.out
    assert "Traceback" not in done.err


def test_a_contact_sheet_shows_every_class(bench: Bench, tmp_path: Path) -> None:
    done = bench("data", "preview", "-c", "tiny.yaml", "-o", "sheet.png", "--columns", "3")
    assert done.code == 0, done.err
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.height == 11 * (32 + 4) + 4


def test_data_can_be_listed_in_full(bench: Bench, tmp_path: Path) -> None:
    done = bench(
        "data", "stats", "-c", "tiny.yaml", "--findings", "f.csv", "--manifest", "m.csv",
        "--set", "data.max_classes=10",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "10: class beyond max_classes" in done.out
    with (tmp_path / "m.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 100
    with (tmp_path / "f.csv").open() as file:
        assert [row["action"] for row in csv.DictReader(file)] == ["dropped"] * 10


def test_cleaning_deletes_what_can_be_made_again_and_nothing_else(
    bench: Bench, tmp_path: Path
) -> None:
    assert bench("data", "stats", "-c", "tiny.yaml").code == 0
    cache, saved = tmp_path / "mlruns/cache", tmp_path / "mlruns/runs/tiny/a/record.json"
    (cache / "pixels" / ".left-by-a-killed-process").mkdir()
    saved.parent.mkdir(parents=True)
    saved.write_text("{}")
    done = bench("data", "clean", "-c", "tiny.yaml")
    assert done.code == 0, done.err
    assert re.search(r"deleted pixels: \d+ MiB\n", done.out)
    assert [path for path in cache.rglob("*") if path.parent != cache] == []
    assert saved.is_file()
    assert "0 MiB freed" in bench("data", "clean", "-c", "tiny.yaml").out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_ui_serves_the_studys_store(
    tiny_study: StudyRun, tmp_path: Path, number: signal.Signals
) -> None:
    """The printed address answers at once, and no process of the server outlives the command."""
    port = free_port()
    messages = tmp_path / "messages"
    with messages.open("w") as stderr:
        process = subprocess.Popen(
            [*COMMAND, "ui", "-c", "tiny.yaml", "--port", str(port)],
            cwd=tiny_study.folder,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")},
            preexec_fn=heed_signals,
        )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        page = re.fullmatch(rf"http://127\.0\.0\.1:{port}/#/experiments/(\d+)/runs\?.*", address)
        assert page is not None, address
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30):
            pass
        query = json.dumps({"experiment_ids": [page[1]]}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/search",
            query,
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            result = json.load(response)["runs"]
        assert len([run for run in result if run["info"]["run_name"] != "report"]) == 2
        servers = psutil.Process(process.pid).children(recursive=True)
        assert servers
        process.send_signal(number)
        assert process.wait(60) == 130
        assert not [server for server in servers if server.is_running()]
        assert messages.read_text().endswith("bench: The MLflow UI has stopped.\n")
    finally:
        process.terminate()
        process.wait(60)


def test_the_ui_refuses_a_port_in_use(tiny_study: StudyRun) -> None:
    """Nothing is printed as if it were served."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_bench(tiny_study.folder, "ui", "-c", "tiny.yaml", "--port", str(port))
    assert (done.code, done.out) == (2, "")
    result = [line for line in done.err.splitlines() if line]
    assert len(result) == 1
    assert f"--port {port}: is used by another program on 127.0.0.1" in result[0]


def _groups(group: click.Group) -> Iterator[click.Group]:
    yield group
    for command in group.commands.values():
        if isinstance(command, click.Group):
            yield from _groups(command)


def test_help_says_what_each_command_does_in_80_columns() -> None:
    for group in _groups(main):
        text = group.get_help(click.Context(group, info_name="bench", terminal_width=80))
        commands = text.partition("Commands:\n")[2].splitlines()
        assert len(commands) == len(group.commands)
        assert not [line for line in commands if line.endswith("...") or len(line) > 80]
