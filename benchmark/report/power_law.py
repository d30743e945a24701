"""Fit and extrapolate learning curves: a power law with an offset, and its uncertainty.

The error of n training images is a * n^-b + c (Hestness et al. 2017, arXiv:1712.00409; for a
review, Viering and Loog 2021, arXiv:2103.10948). Independent of runs and files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.report.statistics import Floats, Resampling

EXPONENTS = np.geomspace(0.05, 2, 100)
"""Exponents b that are tried; a and c follow for each of them in closed form."""
LEVEL = 0.9
"""Level of the bands."""
REPLICAS = 1000
SEED = 0
FALL = 3.0
"""Fall of the accuracy from one size to a larger one, in standard errors, that is beyond noise."""

Hits = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PowerLaws:
    """Fitted laws, one for each of `replicas` resampled curves; sizes are relative to `unit`."""

    unit: float
    """Number of images whose size is 1, the largest of the fit."""
    a: Floats
    b: Floats
    c: Floats

    def errors(self, images: float) -> Floats:
        """Error of a number of training images [replicas]."""
        errors: Floats = self.a * (images / self.unit) ** -self.b + self.c
        return errors


def fit_power_law(images: Floats, errors: Floats, weights: Floats) -> PowerLaws:
    """Fit laws with a, c >= 0 and b in `EXPONENTS` by weighted least squares.

    `images` [m] are sizes in ascending order, `errors` [replicas, m] the errors at each of them,
    and `weights` [m] their inverse variances.
    """
    unit = float(images[-1])
    fits, losses = [], []
    for b in EXPONENTS:
        x = (images / unit) ** -b
        a, c = _scale_and_offset(x, errors, weights)
        fits.append((a, np.full(len(a), b), c))
        losses.append((weights * (errors - a[:, None] * x - c[:, None]) ** 2).sum(axis=1))
    best = np.stack(losses).argmin(axis=0)
    a, exponents, c = np.stack(fits, axis=1)[:, best, np.arange(len(best))]
    return PowerLaws(unit, a, exponents, c)


def _scale_and_offset(x: Floats, errors: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weighted least squares of errors = a * x + c with a, c >= 0."""
    whole = weights.sum()
    mean_x, mean = float((weights * x).sum() / whole), (weights * errors).sum(axis=1) / whole
    centred = x - mean_x
    a = (weights * centred * errors).sum(axis=1) / (weights * centred**2).sum()
    c = mean - a * mean_x
    without_offset = (weights * x * errors).sum(axis=1) / (weights * x * x).sum()
    a, c = np.where(c < 0, without_offset, a), np.maximum(c, 0)
    flat = a < 0
    return np.where(flat, 0, a), np.where(flat, mean, c)


@dataclass(frozen=True)
class CurveData:
    """Correctness of the predictions of all trainings of one architecture."""

    images: Floats
    """Number of training images of each size [m], ascending; means over draws."""
    hits: Sequence[Hits]
    """For each size, the correctness [test images, draws]."""

    @property
    def errors(self) -> Floats:
        """Mean error of each size [m]."""
        return np.array([1 - hits.mean() for hits in self.hits])

    @property
    def draws(self) -> Floats:
        """Number of draws of each size [m]."""
        return np.array([float(hits.shape[1]) for hits in self.hits])

    def deviations(self) -> Floats:
        """Standard deviation of the accuracy of one draw, by size [m], on the same test images.

        Few draws say little about one size. So a common factor is estimated, of a variance that
        is proportional to that of a class prediction and to n^-1/2.
        """
        errors = self.errors
        shape = np.maximum(errors * (1 - errors), 1e-6) / np.sqrt(self.images)
        known = [index for index, count in enumerate(self.draws) if count > 1]
        ratios = [self.hits[index].mean(axis=0).var(ddof=1) / shape[index] for index in known]
        # Where all draws agree, a floor of a quarter of an image keeps weights finite.
        floor = 0.25 / len(self.hits[0])
        deviations: Floats = np.maximum(np.sqrt(np.mean(ratios) * shape), floor)
        return deviations

    def without_largest(self) -> CurveData:
        """All sizes but the largest, from which it is predicted in a back-test."""
        return CurveData(self.images[:-1], self.hits[:-1])


@dataclass(frozen=True)
class Extrapolation:
    """Laws fitted to resampled curves."""

    laws: PowerLaws
    deviation: Floats
    """Deviation of a single further training from its law [replicas]."""
    test_shift: Floats
    """Change of the error by resampling the test images [replicas]; paired between networks."""
    central: PowerLaws
    """The law fitted to the measured errors themselves, as one replica."""

    def error(self, images: float) -> float:
        """Predicted error of a number of training images."""
        return float(self.central.errors(images)[0])

    def band(
        self, images: float, same_test: bool = False, level: float = LEVEL
    ) -> tuple[float, float]:
        """Band of the error of a single training, on new test images or on the `same_test`."""
        errors = self.laws.errors(images) + self.deviation
        shifted = errors if same_test else errors + self.test_shift
        return quantiles(np.clip(shifted, 0.0, 1.0), level)

    def gains(self, images: float) -> Floats:
        """Decrease of the expected error from the largest size to `images` [replicas]."""
        return self.laws.errors(self.laws.unit) - self.laws.errors(images)


def quantiles(values: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Central interval of replicas at a level."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resampled_errors(data: CurveData, resampling: Resampling) -> Floats:
    """Mean error of each size on resampled test images [replicas, m]."""
    images = resampling.sizes()[:, None]
    sums = [resampling.sums(hits) for hits in data.hits]
    return np.stack([1 - (own / images).mean(axis=1) for own in sums], axis=1)


def extrapolate(data: CurveData, resampled: Floats) -> Extrapolation:
    """Fit laws to replicas of a curve, over test images and over draws of training images.

    `resampled` are its `resampled_errors`. A replica has these, less what resampling changes at the
    largest size, so that predictions are comparable with accuracies on the same test images. The
    draws are resampled from a normal distribution, because three of them have few bootstrap
    samples.
    """
    generator = np.random.default_rng(SEED)
    errors, deviations = data.errors, data.deviations()
    shift = resampled[:, -1] - errors[-1]
    noise = generator.standard_normal(resampled.shape) * deviations / np.sqrt(data.draws)
    weights = data.draws / deviations**2
    return Extrapolation(
        fit_power_law(data.images, resampled - shift[:, None] + noise, weights),
        generator.standard_normal(len(resampled)) * deviations[-1],
        shift,
        fit_power_law(data.images, errors[None], weights),
    )


def find_fall(data: CurveData, resampled: Floats) -> tuple[int, int] | None:
    """Return two sizes, smaller first, whose accuracy falls beyond noise; None if none does.

    The noise is that of the draws, and of the test images, which all sizes share: `resampled` are
    the curve's `resampled_errors`. The largest fall is returned.
    """
    errors, deviations = data.errors, data.deviations() / np.sqrt(data.draws)
    largest, sizes = FALL, None
    for small in range(len(errors)):
        for large in range(small + 1, len(errors)):
            test = float((resampled[:, large] - resampled[:, small]).std(ddof=1))
            noise = math.hypot(test, deviations[small], deviations[large])
            fall = float(errors[large] - errors[small]) / noise
            if fall > largest:
                largest, sizes = fall, (small, large)
    return sizes
