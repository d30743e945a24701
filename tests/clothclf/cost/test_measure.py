"""Measurement: consistent figures, agreement with torch's timer, and errors."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.benchmark import Timer

from clothclf.cost.count import CostRequest
from clothclf.cost.measure import request as measure_module
from clothclf.cost.measure.busy import (
    BusyWatch,
    calmest,
    describe_load,
    describe_others,
    wait_until_idle,
)
from clothclf.cost.measure.effort import BATCH_SIZES, ON_LATENCY
from clothclf.cost.measure.measuring import Bench, time_pass, warm_up
from clothclf.cost.measure.median import relative_half_width
from clothclf.cost.measure.peak_memory import working_bytes
from clothclf.cost.measure.request import measure_cost, measured_from_dict
from clothclf.cost.network import parameter_count
from clothclf.errors import CostError
from clothclf.results import MeasuredCost
from clothclf.settings import HeadSettings
from tests.benchmark.examples import make_measured

CPU = torch.device("cpu")


def request(name: str, size: int = 64, frozen: bool = True) -> CostRequest:
    return CostRequest(name, size, 5, HeadSettings(), frozen=frozen)


@pytest.fixture(scope="module", autouse=True)
def _no_long_waits() -> Iterator[None]:
    """Do not wait for an idle machine, since other tests may use the cores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clothclf.cost.measure.busy.MAX_WAIT_S", 0.0)
        yield


@pytest.fixture(scope="module")
def resnet() -> MeasuredCost:
    return measure_cost(request("resnet18"), "cpu", training_batch_size=8)


def test_the_figures_fit_together(resnet: MeasuredCost) -> None:
    assert (resnet.device, resnet.precision, resnet.image_size) == ("cpu", "float32", 64)
    assert resnet.threads >= 1
    assert len(resnet.latency_ms) >= 2
    assert min(resnet.latency_ms) <= resnet.latency_ms_median <= resnet.latency_ms_p95
    assert resnet.latency_ms_p95 <= max(resnet.latency_ms)
    assert resnet.latency_ms_median == statistics.median(resnet.latency_ms)
    assert list(resnet.throughput) == list(BATCH_SIZES[: len(resnet.throughput)])
    mean_s = statistics.fmean(resnet.latency_ms) / 1e3
    assert resnet.throughput[1] == pytest.approx(1 / mean_s)
    assert resnet.best_images_per_second == max(resnet.throughput.values())
    assert resnet.gmacs_per_second(10**9, 1) == pytest.approx(resnet.throughput[1])


def test_memory_holds_the_weights_and_what_training_adds(resnet: MeasuredCost) -> None:
    weights = 4 * 11_000_000  # ResNet-18 has 11.2 million parameters without its classifier
    assert weights < resnet.inference_memory_bytes < 3 * weights
    trained = measure_cost(request("resnet18", frozen=False), "cpu", training_batch_size=8)
    # Gradients and momentum are as large as the weights; activations come on top.
    assert trained.training_memory_bytes > 3 * weights
    assert resnet.training_memory_bytes < trained.training_memory_bytes - weights
    assert trained.training_batch_size == 8


def test_the_peak_of_known_work_is_found() -> None:
    block = 200 * 2**20

    def work() -> None:
        held = torch.ones(block // 4)
        del held

    result = working_bytes(work, CPU, rehearsal=lambda: None)
    assert result == pytest.approx(block, rel=0.05)


def test_a_measurement_survives_json(resnet: MeasuredCost) -> None:
    import json
    from dataclasses import asdict

    assert measured_from_dict(json.loads(json.dumps(asdict(resnet)))) == resnet


@pytest.mark.parametrize(
    ("asked", "device", "told"),
    [
        (request("vgg16", 8), "cpu", "vgg16.*8 x 8"),
        (request("resnet_18"), "cpu", "resnet_18"),
        (request("resnet18"), "cuda:99", "cuda:99 is not available"),
        (request("resnet18"), "tpu", "'tpu' is not one of auto, cpu"),
    ],
    ids=["size", "name", "missing-device", "unknown-device"],
)
def test_a_refusal_is_one_sentence(asked: CostRequest, device: str, told: str) -> None:
    with pytest.raises(CostError, match=told) as caught:
        measure_cost(asked, device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import os; os.kill(os.getpid(), 9)", "the measuring process was killed by SIGKILL"),
        ("import os; os.kill(os.getpid(), 40)", "the measuring process was killed by signal 40"),
        ("import time; time.sleep(60)", "measuring took longer than 2 seconds"),
    ],
)
def test_a_process_that_dies_or_hangs_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, told: str
) -> None:
    (tmp_path / "broken_child.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(measure_module, "CHILD", "broken_child")
    with pytest.raises(CostError, match=f"vgg16: {told}"):
        measure_cost(request("vgg16"), "cpu", timeout_s=2)


@pytest.fixture
def spinning() -> Iterator[None]:
    """Run another process that uses a core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    yield
    process.kill()
    process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="others' share is read from /proc")
@pytest.mark.usefixtures("spinning")
def test_a_busy_machine_is_noticed() -> None:
    watch = BusyWatch()
    time.sleep(1.0)
    assert "other processes used" in watch.describe()


@pytest.mark.skipif(sys.platform != "linux", reason="others' share is read from /proc")
@pytest.mark.usefixtures("spinning")
def test_waiting_for_a_busy_machine_ends() -> None:
    assert not wait_until_idle(0.1)


@pytest.mark.parametrize(
    ("found", "idle", "kept", "times"),
    [
        ([(9.0, "busy"), (5.0, "")], [True], (5.0, ""), 2),
        ([(9.0, "busy"), (7.0, "busy"), (8.0, "busy")], [True, True], (7.0, "busy"), 3),
        ([(9.0, "busy")], [False], (9.0, "busy"), 1),
        ([(9.0, "")], [], (9.0, ""), 1),
    ],
    ids=["calm at last", "never calm", "never idle", "calm at once"],
)
def test_what_was_disturbed_is_measured_again(
    found: list[tuple[float, str]], idle: list[bool], kept: tuple[float, str], times: int
) -> None:
    """Measure again if the machine becomes idle; the least disturbed result is returned."""
    results = [make_measured(*item) for item in found]
    left, idles = iter(results), iter(idle)
    measured = calmest(
        lambda: next(left),
        lambda result: (result.busy, result.latency_ms_median),
        lambda: next(idles),
    )
    assert (measured.latency_ms_median, measured.busy) == kept
    assert len(results) - len(list(left)) == times


def test_own_work_is_not_others() -> None:
    assert describe_others(0.02, 2) == ""
    assert describe_others(0.4, 64) == ""
    assert describe_others(1.25, 2).startswith("other processes used 1.2 of 2 cores")
    assert describe_load(0.3, 2) == ""
    assert "1.8" in describe_load(1.8, 2)


def test_asking_imports_no_torch() -> None:
    program = "import sys, clothclf.cost.measure.request; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize(("count", "rank"), [(6, 1), (8, 1), (9, 2), (20, 6), (50, 18), (100, 40)])
def test_the_interval_of_a_median_has_the_ranks_of_the_sign_test(count: int, rank: int) -> None:
    """Ranks as in tables of the sign test at 5 %, two-sided, plus one."""
    values = list(range(1, count + 1))
    half_width = (count + 1 - 2 * rank) / 2
    assert relative_half_width(values[::-1]) == half_width / statistics.median(values)


def test_a_median_needs_six_values_for_an_interval() -> None:
    assert relative_half_width([1.0] * 5) is None
    assert relative_half_width([1.0] * 6) == 0
    assert relative_half_width([1.0, 2.0] * 1000) == pytest.approx(0.5 / 1.5)


@pytest.mark.parametrize(
    ("times", "longest_s"),
    [([0.05], 2.0), ([0.04, 0.06], 8.0), ([1e-4], 0.1), ([3.0], 8.0)],
    ids=["steady", "uneven", "fast", "slow"],
)
def test_latency_is_timed_until_its_interval_is_narrow(
    times: list[float], longest_s: float
) -> None:
    """2 s are enough if the median is known to 3 %, else 8 s, and never more than 1,000 passes."""
    passes: list[float] = []
    while not ON_LATENCY.is_enough(passes):
        passes.append(times[len(passes) % len(times)])
    assert sum(passes) == pytest.approx(longest_s, abs=max(times) + 1e-9)


@pytest.mark.slow
def test_torchs_own_timer_agrees_within_five_per_cent() -> None:
    """Passes alternate, so that disturbances affect both timers."""
    bench = Bench.build(request("resnet18", 112), CPU)
    work = bench.forward(1)
    timer = Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads())
    warm_up(work, CPU)
    timer.timeit(3)
    ratios = []
    for _ in range(41):
        ours = statistics.median(time_pass(work, CPU) for _ in range(5))
        theirs = timer.timeit(5).median
        ratios.append(ours / theirs)
    assert statistics.median(ratios) == pytest.approx(1, abs=0.05)


def test_inference_is_timed_as_deployed_and_training_as_it_trains() -> None:
    trains = Bench.build(request("mobileone_s0", 64), CPU)
    deployed = Bench.build(request("mobileone_s0", 64), CPU, deploy=True)
    assert (trains.deployed, deployed.deployed) == (False, True)
    assert parameter_count(deployed.model) < parameter_count(trains.model)
    deployed.forward(2)()
    assert not Bench.build(request("test_resnet", 32), CPU, deploy=True).deployed
