"""Difference of two images apart from brightness, compression, and a small shift or zoom.

Hashes are not enough: all dark wallets on a white background have similar ones. So the second image
is fitted by the first one's pixels and gradients with least squares (image registration as in
Lucas and Kanade 1981), and the residual is taken where it is largest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clothclf.data.audit.hashes import CELLS, UNSHIFTED, cell_means, shifts_of
from clothclf.data.checked import Images

PAIRS_AT_ONCE = 256
WINDOW = 4
"""Side of a window in cells; the difference is computed in 8 x 8 windows."""
DARK, BRIGHT = 6.0, 249.0
"""Levels beyond which brightness changes are clipped; such pixels are left out of the fit."""
STIFFNESS = 30.0
"""Ridge penalty of the fit towards no change; it matters for nearly white images."""

Thumbnails = npt.NDArray[np.float32]
"""Images float32 [n, CELLS, CELLS, 3], in levels of 0 to 255."""


def differences(
    pixels: Images,
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    shift: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Compute the difference of each pair of images, in levels of 0 to 255.

    It is the root mean square of the residual after fitting brightness, contrast, shift and zoom,
    in the worst of 64 windows. `first` and `second` are rows of `pixels`; `shift` is the index of
    one of a hash's nine shifts.
    """
    result = np.empty(len(first))
    for start in range(0, len(first), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        ours = _thumbnails(pixels, first[part], shift[part])
        theirs = _thumbnails(pixels, second[part], np.full(len(ours), UNSHIFTED))
        result[part] = np.maximum(_unexplained(ours, theirs), _unexplained(theirs, ours))
    return result


def _thumbnails(
    pixels: Images, rows: npt.NDArray[np.int64], shift: npt.NDArray[np.int64]
) -> Thumbnails:
    size = pixels.shape[1]
    thumbnails = np.empty((len(rows), CELLS, CELLS, 3), dtype=np.float32)
    for index in np.unique(shift):
        down, right = (cell_means(size, part) for part in shifts_of(int(index)))
        for own in np.flatnonzero(shift == index):
            lines = down @ pixels[rows[own]].reshape(size, size * 3).astype(np.float32)
            thumbnails[own] = right @ lines.reshape(CELLS, size, 3)
    return thumbnails


def _unexplained(ours: Thumbnails, theirs: Thumbnails) -> npt.NDArray[np.float64]:
    """Fit `theirs` by `ours`; return the residual in the worst window of each pair [n]."""
    count = len(ours)
    changes = _changes(ours, theirs)
    informative = (np.minimum(ours, theirs) > DARK) & (np.maximum(ours, theirs) < BRIGHT)
    informative = informative.reshape(count, -1, 1)
    weighted = (changes * informative).transpose(0, 2, 1)
    missing = (theirs - ours).reshape(count, -1, 1)
    normal = (weighted @ changes).astype(np.float64)
    scale = np.trace(normal, axis1=1, axis2=2) / normal.shape[1]
    ridge = (STIFFNESS + 1e-4 * scale)[:, None, None] * np.eye(normal.shape[1])
    factors = np.linalg.solve(normal + ridge, (weighted @ missing).astype(np.float64))
    explained = ours + (changes @ factors.astype(np.float32)).reshape(ours.shape)
    left = theirs - np.clip(explained, 0, 255)
    # Clipped pixels may have been brighter than white or darker than black.
    left = np.where(ours > BRIGHT, np.minimum(left, 0), left)
    left = np.where(ours < DARK, np.maximum(left, 0), left) ** 2
    windows = CELLS // WINDOW
    by_window = left.reshape(count, windows, WINDOW, windows, WINDOW, 3).mean(axis=(2, 4, 5))
    worst: npt.NDArray[np.float64] = np.sqrt(by_window.max(axis=(1, 2))).astype(np.float64)
    return worst


def _changes(ours: Thumbnails, theirs: Thumbnails) -> npt.NDArray[np.float32]:
    """Return the derivatives of `ours` by each parameter of the fit: [n, values, 6].

    The parameters are contrast, brightness, and shift and zoom in both directions. Gradients are
    averaged over both images, which fits shifts of half a cell as well as of a tenth (Malis 2004).
    """
    both = (ours + theirs) / 2
    down, right = np.gradient(both, axis=1), np.gradient(both, axis=2)
    middle = ((np.arange(CELLS) + 0.5) / CELLS * 2 - 1).astype(np.float32)
    kinds = [
        ours,
        np.full_like(ours, 255.0),
        down,
        right,
        down * middle[:, None, None],
        right * middle[:, None],
    ]
    return np.stack(kinds, axis=-1).reshape(len(ours), -1, len(kinds))
