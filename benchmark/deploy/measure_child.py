"""Measuring process: reads a request from standard input, writes the result to standard output.

Both are JSON; predictions are written to a file. Only what the variant itself needs is imported
before its memory has been measured.
"""

from __future__ import annotations

import functools
import json
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmark.deploy.base import Images, Predict, Probabilities

BATCH_SIZE = 64
"""Number of images in a batch of predictions."""
SWAPPED_IMAGES = 128
"""Number of images that are also predicted with red and blue swapped, to find such a mistake."""
SAMPLES = 8
"""Number of different images that are predicted in turn while timing."""
PASSES_FOR_MEMORY = 10
MAX_ATTEMPTS = 3
MAX_WAIT_S = 5.0


def main() -> None:
    """Handle one request."""
    from clothclf.cost.count_child import private_stdout

    answers = private_stdout()
    answers.write(json.dumps(_answer(json.loads(sys.stdin.readline()))))
    answers.flush()


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    """Handle one request; returns an `answer` or an `error`."""
    warnings.simplefilter("ignore")
    from clothclf.errors import UserError, first_line

    try:
        return {"answer": _predict_only(question) if "images" in question else _measure(question)}
    except UserError as error:
        return {"error": str(error)}
    except Exception as error:  # runtimes raise arbitrary exceptions
        return {"error": f"{type(error).__name__}: {first_line(error)}"}


def _loader(question: dict[str, Any]) -> Callable[[], tuple[Predict, str]]:
    """Return what imports a runtime, loads the files, and returns its function and version."""
    from benchmark.deploy.base import LoadContext
    from benchmark.deploy.variants import find_variant

    variant = find_variant(question["variant"])
    context = LoadContext(Path(question["folder"]), Path(question["run"]), question["threads"])

    def load() -> tuple[Predict, str]:
        runtime = variant.runtime()
        return runtime.load(context), runtime.version()

    return load


def _predict_only(question: dict[str, Any]) -> dict[str, Any]:
    """Write the predictions for an array of images in a file."""
    import numpy as np

    predict, version = _loader(question)()
    np.save(question["out"], _in_batches(predict, np.load(question["images"])))
    return {"runtime": version}


def _measure(question: dict[str, Any]) -> dict[str, Any]:
    """Measure load time, memory, latency and throughput, then predict all test images."""
    import numpy as np

    from clothclf.cost.measure.peak_memory import process_peak_bytes

    samples = np.load(question["samples"])
    singles = [np.ascontiguousarray(samples[i : i + 1]) for i in range(min(SAMPLES, len(samples)))]
    load = _loader(question)
    memory = process_peak_bytes()
    started = time.perf_counter()
    predict, version = load()
    predict(singles[0])
    load_s = time.perf_counter() - started
    for number in range(PASSES_FOR_MEMORY):
        predict(singles[number % len(singles)])
    memory = process_peak_bytes() - memory
    timed = _time_when_idle(predict, singles, samples, question["encoded"])
    _predict_test(predict, question)
    return {"runtime": version, "load_s": load_s, "memory_bytes": memory, **timed}


def _time_when_idle(
    predict: Predict, singles: list[Images], samples: Images, encoded: list[str]
) -> dict[str, Any]:
    """Time a variant, again while other processes use the cores; returns the calmest result."""
    from clothclf.cost.measure.busy import BusyWatch, wait_until_idle

    results: list[dict[str, Any]] = []
    while True:
        watch = BusyWatch()
        result = _time(predict, singles, samples, encoded)
        results.append({**result, "busy": watch.describe()})
        if not results[-1]["busy"] or len(results) == MAX_ATTEMPTS:
            break
        if not wait_until_idle(MAX_WAIT_S):
            break
    return min(results, key=lambda item: (bool(item["busy"]), sum(item["latency_ms"])))


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
    place = 0

    def work() -> None:
        nonlocal place
        works[place % len(works)]()
        place += 1

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
    """Images per second by batch size, until a larger batch gains too little."""
    import numpy as np

    from clothclf.cost.measure.effort import (
        BATCH_SIZES,
        MAX_PASS_S,
        ON_THROUGHPUT,
        WORTHWHILE_GAIN,
        time_repeatedly,
    )

    rates, latest = {1: len(latency) / sum(latency)}, 1
    for batch in BATCH_SIZES[1:]:
        if batch / rates[latest] > MAX_PASS_S:
            break
        images = np.resize(samples, (batch, *samples.shape[1:]))
        predict(images)  # some runtimes compile for each batch size
        seconds = time_repeatedly(functools.partial(predict, images), ON_THROUGHPUT)
        rates[batch] = batch * len(seconds) / sum(seconds)
        if rates[batch] < WORTHWHILE_GAIN * rates[latest]:
            break
        latest = batch
    return rates


def _predict_test(predict: Predict, question: dict[str, Any]) -> None:
    """Write the predictions for the test images, and for some with red and blue swapped."""
    import numpy as np

    from clothclf.data.dataset import open_pixels

    pixels = open_pixels(Path(question["pixels"]))
    rows = np.load(question["rows"])
    parts = [
        predict(np.ascontiguousarray(pixels[rows[start : start + BATCH_SIZE]]))
        for start in range(0, len(rows), BATCH_SIZE)
    ]
    np.save(question["out"], np.concatenate(parts))
    swapped = np.ascontiguousarray(pixels[rows[:SWAPPED_IMAGES]][..., ::-1])
    np.save(question["swapped"], _in_batches(predict, swapped))


def _in_batches(predict: Predict, images: Images) -> Probabilities:
    import numpy as np

    parts = [predict(images[i : i + BATCH_SIZE]) for i in range(0, len(images), BATCH_SIZE)]
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
