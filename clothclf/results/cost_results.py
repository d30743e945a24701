"""Result types of counted and measured cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class CounterResult:
    """Result of one counter for one forward pass of one image, in its own convention."""

    macs: int | None
    """Multiply-adds by this counter's convention; None if it failed."""
    by_operator: dict[str, int]
    """MACs by operator (`convolution`, `linear` …) or, for flopth, by layer class."""
    by_module: dict[str, int]
    """MACs by the module's dotted name, as the counter attributes them."""
    not_counted: dict[str, int]
    """Operators or layers that were ignored, with their number of calls."""
    convention: str
    """What the counter counts, and with which factor, in words."""
    error: str = ""
    """Why the counter failed; empty if it succeeded."""


Verdict = Literal["agreed", "explained", "disputed", "unchecked"]


@dataclass(frozen=True)
class ReceptiveField:
    """Receptive field of one position of the last feature map, along one axis."""

    pixels: int | None
    """Theoretical receptive field in pixels, excluding parts that see the whole input."""
    stride: int | None
    """Input pixels between neighboring positions of the map."""
    padding: int | None
    """Pixels of padding in the receptive field of the first position."""
    global_by: str = ""
    """First part through which each position sees the whole input (attention …); empty if none."""

    def __str__(self) -> str:
        known = "unknown" if self.pixels is None else f"{self.pixels} px"
        return f"global ({self.global_by}; {known} without)" if self.global_by else known


@dataclass(frozen=True)
class Cost:
    """Counted cost of one forward pass of one image, and size of the model."""

    architecture: str
    image_size: int
    """Side of the square input in pixels; its width if it is not square."""
    classes: int
    params: int
    """Parameters of the deployed form, like weight_bytes, activations and macs."""
    trainable_params: int
    weight_bytes: int
    """Size of all parameters and buffers as stored, mostly float32."""
    activations: int | None
    """Output elements of all convolutions, linear layers and matrix products."""
    macs: int | None
    """Headline: multiply-adds of convolutions, linear layers, matrix products and attention.

    Counts the deployed form; `counters` count the training form.
    """
    counters: dict[str, CounterResult]
    """Unmodified result of each counter, by its name in `cost.counters.registry`."""
    verdicts: dict[str, Verdict]
    """Verdict on each counter but torch's, which gives the headline."""
    reason: str
    """Why counters differ from the headline, in words; empty if all agree."""
    receptive_field: ReceptiveField | None
    training_macs: int | None = None
    """Headline of the training form; None if it is the same as the deployed form."""
    training_params: int | None = None
    """Parameters of the training form; None if it is the same as the deployed form."""
    image_height: int | None = None
    """Height of the input in pixels; None if it is square."""

    @property
    def size_text(self) -> str:
        """Input size in pixels: `224`, or `1024x768` (height x width) if it is not square."""
        return size_text(self.image_size, self.image_height)

    @property
    def flops(self) -> int | None:
        """Floating-point operations: 2 x MACs."""
        return None if self.macs is None else 2 * self.macs

    @property
    def verdict(self) -> Verdict:
        """Worst of the counters' verdicts."""
        order: tuple[Verdict, ...] = ("disputed", "unchecked", "explained", "agreed")
        return min(self.verdicts.values(), key=order.index, default="unchecked")

    def counted_macs(self, counter: str) -> int | None:
        """Return the figure of one counter; None if it failed or did not count."""
        result = self.counters.get(counter)
        return None if result is None else result.macs

    @property
    def relative_difference(self) -> float | None:
        """Signed relative difference of flopth from fvcore; None if either has no figure."""
        flopth, fvcore = self.counted_macs("flopth"), self.counted_macs("fvcore")
        return None if flopth is None or not fvcore else flopth / fvcore - 1


def size_text(width: int, height: int | None) -> str:
    """Format an input size in pixels: one number if it is square, else height x width."""
    return str(width) if height in (None, width) else f"{height}x{width}"


@dataclass(frozen=True)
class MeasuredCost:
    """Measured time and memory of one model on a device, and the conditions."""

    device: str
    """`cpu`, `mps` or the GPU model."""
    threads: int
    """torch's intra-op threads."""
    precision: str
    """Precision of weights and arithmetic: `float32`, with a note where convolutions use TF32."""
    image_size: int
    """Side of the square input in pixels."""
    latency_ms_median: float
    """Median time of one forward pass of one image in milliseconds, without warm-up."""
    latency_ms_p95: float
    """95th percentile of the same."""
    latency_ms: tuple[float, ...]
    """Time of every pass in milliseconds, in order."""
    throughput: dict[int, float]
    """Images per second by batch size, up to the largest that fits and is worthwhile."""
    inference_memory_bytes: int
    """Weights plus peak working memory of a forward pass of one image."""
    training_memory_bytes: int
    """Peak of a training step: weights, gradients, optimizer state and activations."""
    training_batch_size: int
    """Number of images in that step."""
    busy: str
    """Why the figures should not be ranked, in words; empty if the machine was otherwise idle."""
    deployed: bool = False
    """Whether inference was timed in a deployed form that differs from the training form."""

    @property
    def best_batch(self) -> int:
        """Batch size with the highest throughput."""
        return max(self.throughput, key=lambda batch: self.throughput[batch])

    @property
    def best_images_per_second(self) -> float:
        """Highest throughput in images per second."""
        return self.throughput[self.best_batch]

    def gmacs_per_second(self, macs: int, batch: int = 1) -> float:
        """Return the achieved giga multiply-adds per second at a measured batch size.

        `macs` is the headline of the same model at the same input size. Raises KeyError for a
        batch size that was not measured.
        """
        return macs * self.throughput[batch] / 1e9
