"""Calibrate probabilities by a temperature, and measure how well they are calibrated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CALIBRATION_BINS = 15
MAX_TEMPERATURE = 20.0
"""Temperatures are fitted between the inverse of this and this."""
_TINY = 1e-30


def fit_temperature(probabilities: npt.ArrayLike, targets: Ints) -> float:
    """Fit the temperature that minimizes the cross-entropy of probabilities [n, classes].

    Scores divided by one temperature keep the predicted classes, and their probabilities match the
    accuracy better (Guo et al., On Calibration of Modern Neural Networks, ICML 2017). Fit it on
    images that have not trained the model: the validation split.
    """
    from scipy.optimize import minimize_scalar

    scores = _scores(probabilities)
    indices = np.arange(len(targets))

    def cross_entropy(log_temperature: float) -> float:
        scaled = scores / np.exp(log_temperature)
        normalizer = np.log(np.exp(scaled).sum(axis=1))
        return float((normalizer - scaled[indices, targets]).mean())

    limit = np.log(MAX_TEMPERATURE)
    optimum = minimize_scalar(cross_entropy, bounds=(-limit, limit), method="bounded")
    best = float(optimum.x)
    return float(np.exp(best)) if cross_entropy(best) < cross_entropy(0.0) else 1.0


def with_temperature(probabilities: npt.ArrayLike, temperature: float) -> Floats:
    """Return probabilities [n, classes] as if their scores were divided by `temperature`."""
    powers = np.exp(_scores(probabilities) / temperature)
    scaled: Floats = powers / powers.sum(axis=1, keepdims=True)
    return scaled


def calibration_error(
    probabilities: npt.ArrayLike, targets: Ints, bins: int = CALIBRATION_BINS
) -> float:
    """Expected calibration error, 0 to 1, of probabilities [n, classes] (Guo et al. 2017).

    Images are binned with equal width by the probability of the predicted class. The error is the
    mean absolute gap between accuracy and mean confidence of the bins, weighted by their images.
    """
    shares = np.asarray(probabilities, dtype=np.float64)
    confidence = shares.max(axis=1)
    correct = shares.argmax(axis=1) == targets
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(targets))


def _scores(probabilities: npt.ArrayLike) -> Floats:
    """Scores [n, classes] of which these are the softmax, at most 0."""
    scores = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), _TINY))
    shifted: Floats = scores - scores.max(axis=1, keepdims=True)
    return shifted
