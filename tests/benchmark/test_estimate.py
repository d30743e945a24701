"""Estimates follow from a probe's times by arithmetic; precision is what is clearly faster."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from benchmark.engine import probe as probe_module
from benchmark.engine.estimate import estimate
from benchmark.engine.probe import faster_precision
from benchmark.text.numbers import duration
from clothclf.results import Probe, StepTimes
from clothclf.settings import ModelSettings, TrainSettings
from tests.benchmark.examples import make_spec

PROBE = Probe(
    route="images",
    times={"float32": StepTimes(0.01, 0.5), "bfloat16": StepTimes(0.004, 0.6)},
    views=1,
    features=512,
    steps_per_epoch=4,
    startup_s=2.0,
    peak_memory_bytes=10**9,
)
TWO_VIEWS = dataclasses.replace(PROBE, route="features", views=2)


def test_epochs_of_images_cost_steps_and_validation() -> None:
    """64 training, 16 validation and 20 test images; starting and counting are the same."""
    spec = make_spec(train=TrainSettings(epochs=3))
    more = make_spec(train=TrainSettings(epochs=13))
    ten_epochs = estimate(more, PROBE).seconds - estimate(spec, PROBE).seconds
    assert ten_epochs == pytest.approx(10 * (4 * 0.5 + 16 * 0.01))


def test_features_cost_each_view_once_whatever_the_epochs() -> None:
    spec = make_spec(train=TrainSettings(epochs=3))
    more = make_spec(train=TrainSettings(epochs=13))
    result = estimate(more, TWO_VIEWS).seconds - estimate(spec, TWO_VIEWS).seconds
    assert result == pytest.approx(10 * 4 * 0.5)
    one_view = estimate(spec, dataclasses.replace(TWO_VIEWS, views=1)).seconds
    assert estimate(spec, TWO_VIEWS).seconds - one_view == pytest.approx(64 * 0.01)


def test_measuring_takes_time_only_where_it_is_asked_for() -> None:
    assert estimate(make_spec(measure=True), PROBE).seconds > estimate(make_spec(), PROBE).seconds


def test_mapped_images_and_features_count_in_the_peak_alone() -> None:
    result = estimate(make_spec(), TWO_VIEWS)
    images, features = 100 * (3 * 112**2 + 2**16), 4 * 512 * (2 * 64 + 16 + 20)
    evaluation = 100 * 2**20
    assert result.peak_memory_bytes == 10**9 + evaluation + images + features
    assert result.working_memory_bytes == 10**9 + evaluation


def test_precision_is_narrow_only_where_that_is_clearly_faster() -> None:
    """By the step where images train the backbone, by the forward pass where it is frozen."""
    assert faster_precision(PROBE) == "float32"
    assert faster_precision(TWO_VIEWS) == "bfloat16"
    assert faster_precision(dataclasses.replace(PROBE, times={"float32": StepTimes(1, 1)})) == (
        "float32"
    )
    auto = make_spec(model=ModelSettings(precision="auto"), precision="bfloat16")
    assert estimate(auto, TWO_VIEWS).precision == "bfloat16"
    assert estimate(make_spec(), TWO_VIEWS).precision == "float32"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(48.4, "48 s"), (59.6, "1 min 0 s"), (725, "12 min 5 s"), (12000, "3 h 20 min")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_changed_probe_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One digit could change the predicted time or the precision."""
    monkeypatch.setattr(probe_module, "run_probe", lambda spec, timeout_s: PROBE)
    spec = make_spec(cache=tmp_path)
    probe_module.probe(spec)
    assert probe_module.cached_probe(spec) == PROBE
    (path,) = (tmp_path / "probes").glob("*.json")
    text = path.read_text()
    path.write_text(text.replace("0.5", "0.7"))
    assert probe_module.cached_probe(spec) is None
    path.write_text("[1]")
    assert probe_module.cached_probe(spec) is None
    del (values := json.loads(text))["check"]  # early probes had no checksums
    path.write_text(json.dumps(values))
    assert probe_module.cached_probe(spec) == PROBE
    values["route"] = "pictures"  # the former name of `images`
    path.write_text(json.dumps(values))
    assert probe_module.cached_probe(spec) == PROBE
