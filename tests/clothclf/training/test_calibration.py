"""Temperature scaling: it finds the temperature, keeps the classes, and lowers the error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clothclf.training.calibration import calibration_error, fit_temperature, with_temperature

Floats = npt.NDArray[np.float64]


def softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


def drawn(count: int, classes: int, seed: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Calibrated probabilities, and labels drawn from them."""
    generator = np.random.default_rng(seed)
    shares = softmax(2 * generator.standard_normal((count, classes)))
    chance = generator.random(count)[:, None]
    return shares, (shares.cumsum(axis=1) < chance).sum(axis=1).clip(max=classes - 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_overconfident_probabilities_is_found(temperature: float) -> None:
    calibrated, targets = drawn(20_000, 5, 0)
    stated = with_temperature(calibrated, 1 / temperature).astype(np.float32)
    assert fit_temperature(stated, targets) == pytest.approx(temperature, rel=0.05)


def test_the_error_falls_on_other_images() -> None:
    calibrated, targets = drawn(10_000, 8, 1)
    stated = with_temperature(calibrated, 1 / 4)
    temperature = fit_temperature(stated[:5000], targets[:5000])
    before = calibration_error(stated[5000:], targets[5000:])
    after = calibration_error(with_temperature(stated[5000:], temperature), targets[5000:])
    assert before > 0.1
    assert after < 0.02


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 20))
def test_no_predicted_class_changes(seed: int, temperature: float) -> None:
    shares, _ = drawn(50, 6, seed)
    scaled = with_temperature(shares.astype(np.float32), temperature)
    assert (scaled.argmax(axis=1) == shares.astype(np.float32).argmax(axis=1)).all()
    assert scaled.sum(axis=1) == pytest.approx(np.ones(50))


@pytest.mark.parametrize("right", [True, False])
def test_certain_probabilities_stay_finite(right: bool) -> None:
    """A network that is certain of every image, and always right or always wrong."""
    shares = np.tile(np.array([1.0, 0.0, 0.0], dtype=np.float32), (10, 1))
    targets = np.full(10, 0 if right else 1)
    assert np.isfinite(with_temperature(shares, fit_temperature(shares, targets))).all()
