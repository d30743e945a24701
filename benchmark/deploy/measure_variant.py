"""Measure one variant on this machine, in a separate process."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.deploy.accuracy import store_predictions
from benchmark.deploy.base import Images, Probabilities
from benchmark.deploy.build_variant import now
from benchmark.deploy.child import measure_in_child
from benchmark.deploy.images import encoded_images
from benchmark.deploy.measure_variant_child import BATCH_SIZE
from benchmark.deploy.processor import instruction_note
from benchmark.errors import DeployError
from benchmark.runs.deployments import Artifact, Deployments, Device, Timing
from benchmark.runs.find import FinishedRun
from benchmark.runs.inputs import open_splits
from clothclf.data.checked import CheckedImages
from clothclf.data.pixels import Note
from clothclf.errors import DataError


@dataclass(frozen=True)
class MeasureInputs:
    """Test images of one run, for the processes that measure its variants."""

    folder: Path
    """Temporary folder: `rows.npy`, `samples.npy` and encoded images."""
    pixels: Path
    """Array of decoded images."""
    ids: list[str]
    """Names of the test images, in the order of `rows.npy`."""
    encoded: tuple[Path, ...]
    encoded_image: str
    """Description of the encoded images."""


@contextlib.contextmanager
def measure_inputs(run: FinishedRun, note: Note) -> Iterator[MeasureInputs]:
    """Read the test images of a run, decoding them again if they are no longer in the cache.

    `note` is called with a message then. Raises DeployError if they are missing or have changed.
    """
    spec = run.record.spec
    try:
        test = open_splits(spec, run.folder, note)["test"]
    except (DataError, OSError, ValueError) as error:
        raise DeployError(f"{run.name}: its test images cannot be read: {error}") from None
    encoded = encoded_images(spec, test)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.save(folder / "rows.npy", test.rows)
        samples = test.images(np.arange(min(BATCH_SIZE, len(test))))
        np.save(folder / "samples.npy", samples)
        paths = []
        for number, content in enumerate(encoded.contents):
            paths.append(folder / f"encoded-{number}")
            paths[-1].write_bytes(content)
        yield MeasureInputs(
            folder,
            test.pixels.path if isinstance(test.pixels, CheckedImages) else spec.pixels,
            test.ids,
            tuple(paths),
            encoded.description,
        )


def measure_variant(
    run: FinishedRun, artifact: Artifact, inputs: MeasureInputs, device: Device
) -> Timing:
    """Measure time and memory, and predict the test images; stores the predictions.

    Raises DeployError if the runtime cannot run the files, or returns no probabilities.
    """
    out, swapped = inputs.folder / "out.npy", inputs.folder / "swapped.npy"
    more = {
        "pixels": str(inputs.pixels),
        "rows": str(inputs.folder / "rows.npy"),
        "out": str(out),
        "swapped": str(swapped),
    }
    timing = time_variant(run, artifact, inputs, device, more)
    store_predictions(run, artifact, inputs.ids, np.load(out), np.load(swapped))
    return timing


def time_variant(
    run: FinishedRun,
    artifact: Artifact,
    inputs: MeasureInputs,
    device: Device,
    predictions: Mapping[str, str] | None = None,
) -> Timing:
    """Measure time and memory in a new process; raises DeployError as `measure_variant`.

    `predictions` asks it to predict the test images too.
    """
    measured = measure_in_child(
        {
            "variant": artifact.variant,
            "folder": str(Deployments(run.folder.path).folder(artifact).absolute()),
            "run": str(run.folder.path.absolute()),
            "threads": device.threads,
            "samples": str(inputs.folder / "samples.npy"),
            "encoded": [str(path) for path in inputs.encoded],
            **(predictions or {}),
        },
        device.threads,
    )
    return Timing(
        run_id=run.record.run_id,
        variant=artifact.variant,
        artifact=artifact.sha256,
        device=device,
        encoded_image=inputs.encoded_image,
        note=instruction_note(artifact.precision),
        measured_at=now(),
        **measured,
    )


def predict_with(
    run: FinishedRun, artifact: Artifact, images: Images, threads: int
) -> Probabilities:
    """Predict images uint8 [n, size, size, 3] with a variant; raises DeployError."""
    with tempfile.TemporaryDirectory() as temporary:
        source, out = Path(temporary, "images.npy"), Path(temporary, "out.npy")
        np.save(source, images)
        measure_in_child(
            {
                "variant": artifact.variant,
                "folder": str(Deployments(run.folder.path).folder(artifact).absolute()),
                "run": str(run.folder.path.absolute()),
                "threads": threads,
                "images": str(source),
                "out": str(out),
            },
            threads,
        )
        probabilities: Probabilities = np.load(out)
    return probabilities
