"""Measuring process: reads a request from standard input, writes the result to standard output.

Both are JSON; predictions are written to a file. Only modules that the variant itself needs are
imported before its memory has been measured.
"""

from __future__ import annotations

import functools
import statistics
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clothclf.process.respond import serve_request

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from benchmark.deploy.base import Images, Predict, Probabilities
    from clothclf.data.checked import CheckedImages

BATCH_SIZE = 64
"""Number of images in a batch of predictions."""
SWAPPED_IMAGES = 128
"""Number of images that are also predicted with red and blue swapped, to find such a mistake."""
SAMPLES = 8
"""Number of different images that are predicted in turn while timing."""
PASSES_FOR_MEMORY = 10


def _handle(request: dict[str, Any]) -> dict[str, Any]:
    """Handle one request; returns a `result` or an `error`."""
    warnings.simplefilter("ignore")
    from clothclf.errors import UserError, first_line

    try:
        return {"result": _predict_only(request) if "images" in request else _measure(request)}
    except UserError as error:
        return {"error": str(error)}
    except Exception as error:  # runtimes raise arbitrary exceptions
        return {"error": f"{type(error).__name__}: {first_line(error)}"}


def _loader(request: dict[str, Any]) -> Callable[[], tuple[Predict, str]]:
    """Return a function that imports the runtime, loads the files and returns both."""
    from benchmark.deploy.base import LoadContext
    from benchmark.deploy.variants import find_variant

    variant = find_variant(request["variant"])
    context = LoadContext(Path(request["folder"]), Path(request["run"]), request["threads"])

    def load() -> tuple[Predict, str]:
        runtime = variant.runtime()
        return runtime.load(context), runtime.version()

    return load


def _predict_only(request: dict[str, Any]) -> dict[str, Any]:
    """Write the predictions for an array of images to a file."""
    import numpy as np

    predict, version = _loader(request)()
    images = np.load(request["images"])
    np.save(request["out"], _in_batches(predict, images, np.arange(len(images))))
    return {"runtime": version}


def _measure(request: dict[str, Any]) -> dict[str, Any]:
    """Measure load time, memory, latency and throughput, then predict the test images, if asked."""
    import numpy as np

    from clothclf.cost.measure.peak_memory import process_peak_bytes

    samples = np.load(request["samples"])
    singles = [np.ascontiguousarray(samples[i : i + 1]) for i in range(min(SAMPLES, len(samples)))]
    load = _loader(request)
    memory = process_peak_bytes()
    started = time.perf_counter()
    predict, version = load()
    predict(singles[0])
    load_s = time.perf_counter() - started
    for number in range(PASSES_FOR_MEMORY):
        predict(singles[number % len(singles)])
    memory = process_peak_bytes() - memory
    timed = _time_when_idle(predict, singles, samples, request["encoded"])
    if "rows" in request:
        _predict_test(predict, request)
    return {"runtime": version, "load_s": load_s, "memory_bytes": memory, **timed}


def _time_when_idle(
    predict: Predict, singles: list[Images], samples: Images, encoded: list[str]
) -> dict[str, Any]:
    """Time a variant, repeatedly on a busy machine; returns the least disturbed result."""
    from clothclf.cost.measure.busy import BusyWatch, calmest

    def measure() -> dict[str, Any]:
        watch = BusyWatch()
        result = _time(predict, singles, samples, encoded)
        return {**result, "busy": watch.describe()}

    return calmest(measure, lambda item: (item["busy"], statistics.median(item["latency_ms"])))


def _time(
    predict: Predict, singles: list[Images], samples: Images, encoded: list[str]
) -> dict[str, Any]:
    from clothclf.cost.measure.effort import ON_LATENCY, time_repeatedly, warm_up_work

    turn = _in_turn([functools.partial(predict, image) for image in singles])
    warm_up_work(turn)
    latency = time_repeatedly(turn, ON_LATENCY)
    from_file = _time_encoded(predict, encoded, samples.shape[1])
    return {
        "latency_ms": [1e3 * seconds for seconds in latency],
        "encoded_ms": [1e3 * seconds for seconds in from_file],
        "throughput": _throughput(predict, samples, latency),
    }


def _in_turn(works: list[Any]) -> Any:
    """Return a function that calls the next of several functions each time."""
    index = 0

    def work() -> None:
        nonlocal index
        works[index % len(works)]()
        index += 1

    return work


def _time_encoded(predict: Predict, encoded: list[str], size: int) -> list[float]:
    """Seconds from encoded bytes in memory to a prediction, decoded and resized as in training."""
    from clothclf.cost.measure.effort import ON_ENCODED, time_repeatedly, warm_up_work
    from clothclf.data.decode import decoding, resized

    contents = [Path(path).read_bytes() for path in encoded]
    if not contents:
        return []

    def run(content: bytes) -> None:
        with decoding(content) as decoded:
            pixels = resized(decoded.image, size)
        predict(pixels[None])

    turn = _in_turn([functools.partial(run, content) for content in contents])
    warm_up_work(turn)
    return time_repeatedly(turn, ON_ENCODED)


def _throughput(predict: Predict, samples: Images, latency: list[float]) -> dict[int, float]:
    """Images per second by batch size."""
    import numpy as np

    from clothclf.cost.measure.effort import ON_THROUGHPUT, rates_by_batch, time_repeatedly

    def measure(batch: int) -> list[float]:
        images = np.resize(samples, (batch, *samples.shape[1:]))
        predict(images)  # some runtimes compile for each batch size
        return time_repeatedly(functools.partial(predict, images), ON_THROUGHPUT)

    return rates_by_batch(len(latency) / sum(latency), measure)


def _predict_test(predict: Predict, request: dict[str, Any]) -> None:
    """Write the predictions for the test images, and for some with red and blue swapped."""
    import numpy as np

    from clothclf.data.dataset import open_pixels

    pixels = open_pixels(Path(request["pixels"]))
    rows = np.load(request["rows"])
    np.save(request["out"], _in_batches(predict, pixels, rows))
    swapped = pixels[rows[:SWAPPED_IMAGES]][..., ::-1]
    np.save(request["swapped"], _in_batches(predict, swapped, np.arange(len(swapped))))


def _in_batches(
    predict: Predict, images: Images | CheckedImages, rows: npt.NDArray[np.int64]
) -> Probabilities:
    """Predict the images in these rows; only one batch is in memory."""
    import numpy as np

    batches = (rows[i : i + BATCH_SIZE] for i in range(0, len(rows), BATCH_SIZE))
    return np.concatenate([predict(np.ascontiguousarray(images[batch])) for batch in batches])


if __name__ == "__main__":
    serve_request(_handle)
