"""Perceptual hashes of decoded images, and the search for pairs with similar hashes.

The hash is PDQ (Facebook 2019, "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing
Algorithm"): 16 x 16 coefficients of the cosine transform of the brightness, each compared with
their median. Here it is computed from 32 x 32 cells. It is robust to compression, size and
brightness, but a shift by 1/50 of the side changes a quarter of its bits. So each image is hashed
unshifted and shifted in eight directions, which takes two matrix products.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clothclf.data.checked import Images

CELLS = 32
"""Number of cells per side to which an image is reduced."""
COEFFICIENTS = 16
"""Coefficients per side, without the constant one: 256 bits."""
SHIFT = 1.5 / 112
"""Shift of the eight shifted hashes, as a fraction of the image's side."""
UNSHIFTED = 4
"""Index of the unshifted hash among the nine."""
LUMA = (0.299, 0.587, 0.114)
"""Weight of each channel in the brightness (ITU-R BT.601)."""
BLANK_BELOW = 1.0
"""Standard deviation of the brightness, in levels of 0 to 255, below which hashes are invalid."""

COARSE = 8
"""Coarse coefficients per side, including the constant one."""
COARSE_DISTANCE = 0.03
"""Maximum cosine distance of the coarse coefficients for which hashes are compared. 99 % of shifts
by 2 of 112 pixels are below it, and one in 250 pairs of plain product images."""
ROWS_AT_ONCE, COLUMNS_AT_ONCE = 256, 16_384
"""Block size of the table of all pairs, which is never in memory as a whole. Memory grows only with
the number of images, and stays below 400 MB even if every pair is similar."""
CHUNK_BYTES = 4_000_000
"""Chunk size of float32 brightness: larger chunks do not fit the CPU cache."""


@dataclass(frozen=True)
class Hashes:
    """Hashes of n images."""

    bits: npt.NDArray[np.uint64]
    """Hash bits [9, n, 4], 256 per image: shifted up left, up, up right, left, unshifted, ..."""
    coarse: npt.NDArray[np.float32]
    """Lowest coefficients [n, 63], normalized to length 1."""
    blank: npt.NDArray[np.bool_]
    """Whether each image [n] is a single colour, so that its hash is invalid."""

    def __len__(self) -> int:
        return len(self.coarse)


@dataclass(frozen=True)
class Candidates:
    """Pairs of images with similar hashes."""

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    bits: npt.NDArray[np.int64]
    """Hamming distance, of 256, at the best shift of the first image."""
    shift: npt.NDArray[np.int64]
    """Index of the best shift among the nine."""

    def some(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Candidates:
        """Select pairs by mask or index."""
        return Candidates(
            self.first[chosen], self.second[chosen], self.bits[chosen], self.shift[chosen]
        )


def cell_means(size: int, shift: float = 0.0) -> npt.NDArray[np.float32]:
    """Return weights float32 [CELLS, size] that average a line of pixels into cells.

    `shift` moves the cells by a fraction of the line; the edge pixel extends beyond the image.
    """
    edges = np.clip(np.linspace(0, size, CELLS + 1) + shift * size, 0, size)
    pixel = np.arange(size)
    weights = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights = np.maximum(weights, 0)
    outside = weights.sum(axis=1) < 1e-6
    weights[outside, 0 if shift < 0 else size - 1] = 1
    means: npt.NDArray[np.float32] = weights / weights.sum(axis=1, keepdims=True)
    return means.astype(np.float32)


def shifts_of(index: int) -> tuple[float, float]:
    """Return one of the nine shifts: down and right, as fractions of the side."""
    return (index // 3 - 1) * SHIFT, (index % 3 - 1) * SHIFT


def hash_images(pixels: Images, rows: npt.NDArray[np.int64]) -> Hashes:
    """Hash the images at `rows` of an array uint8 [images, size, size, 3], read in chunks."""
    size = pixels.shape[1]
    waves = _cosines() @ np.stack([cell_means(size, index * SHIFT) for index in (-1, 0, 1)])
    transform = waves.reshape(-1, size)
    count = len(rows)
    hashes = Hashes(
        np.empty((9, count, 4), dtype=np.uint64),
        np.empty((count, COARSE**2 - 1), dtype=np.float32),
        np.empty(count, dtype=np.bool_),
    )
    step = max(1, CHUNK_BYTES // (4 * size * size))

    def fill(start: int) -> None:
        part = slice(start, start + step)
        brightness = _brightness(pixels[rows[part]])
        hashes.blank[part] = brightness.std(axis=(1, 2)) < BLANK_BELOW
        _hash(transform @ brightness @ transform.T, hashes, part)

    # NumPy releases the GIL in all slow operations here.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(fill, range(0, count, step)))
    return hashes


def near(hashes: Hashes, most_bits: int, groups: npt.NDArray[np.int64]) -> Iterator[Candidates]:
    """Yield chunks of the pairs whose hashes differ by at most `most_bits` bits, each pair once.

    Pairs within one group of `groups` [n] are skipped; the caller may update it during iteration.
    The coarse coefficients of all pairs are compared: time is quadratic in n.
    """
    seen = np.flatnonzero(~hashes.blank)
    coarse = hashes.coarse[seen]
    for row in range(0, len(seen), ROWS_AT_ONCE):
        block = coarse[row : row + ROWS_AT_ONCE]
        for column in range(row, len(seen), COLUMNS_AT_ONCE):
            likeness = block @ coarse[column : column + COLUMNS_AT_ONCE].T
            first, second = np.nonzero(likeness > 1 - COARSE_DISTANCE)
            first, second = first + row, second + column
            later = second > first
            first, second = seen[first[later]], seen[second[later]]
            apart = groups[first] != groups[second]
            first, second = first[apart], second[apart]
            bits, shift = _distances(hashes, first, second)
            close = bits <= most_bits
            if close.any():
                yield Candidates(first[close], second[close], bits[close], shift[close])


def _cosines() -> npt.NDArray[np.float32]:
    """Return the basis of the cosine transform [COEFFICIENTS + 1, CELLS], constant first."""
    wave, cell = np.arange(COEFFICIENTS + 1)[:, None], np.arange(CELLS)[None]
    basis: npt.NDArray[np.float32] = np.cos(np.pi * (2 * cell + 1) * wave / (2 * CELLS))
    return basis.astype(np.float32)


def _brightness(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Compute the brightness [n, size, size] of images [n, size, size, 3]."""
    brightness: npt.NDArray[np.float32] = images[..., 0] * np.float32(LUMA[0])
    for channel in (1, 2):
        brightness += images[..., channel] * np.float32(LUMA[channel])
    return brightness


def _hash(waves: npt.NDArray[np.float32], hashes: Hashes, part: slice) -> None:
    """Write the hashes of a chunk from its transforms [n, 3 * 17, 3 * 17]."""
    count = len(waves)
    by_shift = waves.reshape(count, 3, COEFFICIENTS + 1, 3, COEFFICIENTS + 1)
    lowest = by_shift[:, 1, :COARSE, 1, :COARSE].reshape(count, -1)[:, 1:]
    length = np.linalg.norm(lowest, axis=1, keepdims=True)
    hashes.coarse[part] = lowest / np.maximum(length, 1e-6)
    half = COEFFICIENTS**2 // 2
    for index in range(9):
        values = by_shift[:, index // 3, 1:, index % 3, 1:].reshape(count, -1)
        median = np.partition(values, half, axis=1)[:, half, None]
        hashes.bits[index, part] = np.packbits(values >= median, axis=1).view(np.uint64)


def _distances(
    hashes: Hashes, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the Hamming distance of each pair at the best shift of the first, and that shift."""
    theirs = hashes.bits[UNSHIFTED][second]
    best = np.full(len(first), 257, dtype=np.int64)
    shift = np.zeros(len(first), dtype=np.int64)
    # Unshifted first, so that it wins ties.
    for index in sorted(range(9), key=lambda index: index != UNSHIFTED):
        differing = np.bitwise_count(hashes.bits[index][first] ^ theirs).sum(1, dtype=np.int64)
        better = differing < best
        best[better], shift[better] = differing[better], index
    return best, shift
