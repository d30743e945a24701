"""Process of a probe: reads a run's spec from standard input, writes the result as JSON."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from benchmark.runs.spec import RunSpec
from clothclf.data.dataset import SplitImages, open_pixels
from clothclf.errors import UserError, first_line
from clothclf.process.respond import serve_request
from clothclf.settings import Precision


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """Probe a run; return the probe, or an error message if the run cannot start."""
    from benchmark.inference.load_teacher import open_teacher
    from benchmark.runs.inputs import build_from  # torch; prints cannot reach the result
    from clothclf.cost.measure.peak_memory import highest_resident_bytes
    from clothclf.data.batches import ImageBatches
    from clothclf.device import make_repeatable, select_device
    from clothclf.training.step_times import probe_training

    spec = RunSpec.model_validate(request["spec"], strict=False)
    precisions: list[Precision] = ["float32"]
    if spec.model.precision == "auto":
        precisions.append("bfloat16")
    elif spec.precision != "float32":
        precisions = [spec.precision]
    try:
        make_repeatable()
        device = select_device(spec.device)
        classifier = build_from(spec)
        images = ImageBatches(
            _any_images(spec),
            classifier.normalization,
            spec.train.augment,
            spec.train.batch_size,
            spec.seed,
            device,
            sampling=spec.train.sampling,
        )
        teacher = open_teacher(spec, classifier, device)
        startup_s = time.time() - request["asked_at"]
        probe = probe_training(
            classifier, images, spec.train, precisions, startup_s, highest_resident_bytes, teacher
        )
    except (UserError, RuntimeError, MemoryError) as error:
        message = first_line(error)
        return {"error": f"{spec.name}: {message}"}
    return {"probe": dataclasses.asdict(probe)}


def _any_images(spec: RunSpec) -> dict[str, SplitImages]:
    """Return splits with the run's sizes and arbitrary images, which do not affect the times."""
    pixels = open_pixels(spec.pixels)
    classes = len(spec.data_summary.classes)
    return {
        name: SplitImages(
            [""] * count, np.arange(count) % classes, np.arange(count) % len(pixels), pixels
        )
        for name, count in spec.data_summary.images.items()
    }


if __name__ == "__main__":
    serve_request(handle)
