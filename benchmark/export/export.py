"""Export a trained run to ONNX, torch.export or TorchScript, and verify its predictions."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from benchmark.errors import ExportError
from benchmark.export.exported import Exported
from benchmark.export.model_card import CARD, INPUT, OUTPUT, card
from benchmark.inference.predictor import BATCH_SIZE, restore_run
from benchmark.runs import run_folder as files
from benchmark.runs.find import FinishedRun
from clothclf.data.atomic import output_file
from clothclf.data.dataset import SplitImages, open_pixels
from clothclf.errors import CostError, DataError, first_line
from clothclf.models.reparameterize import deployed_alike
from clothclf.process.quiet import without_log_warnings

TOLERANCE = 1e-4
"""Maximum difference in probability that rounding explains."""
DRAWN = 64
"""Number of random images for verification if the run's own are not available."""

Images = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]
Runtime = Callable[[Images], Probabilities]


@dataclasses.dataclass(frozen=True)
class Checked:
    """Result of comparing the exported model's predictions with the run's."""

    images: int
    of: str
    """Description of the images."""
    largest_difference: float
    """Largest difference in probability."""
    deployed: bool = False
    """Whether the network was re-parameterized for export."""


def export(run: FinishedRun, form: str, output: Path, maximum: int | None = None) -> Checked:
    """Export a finished run to `output`, and verify that its predictions match the classifier.

    A network that can be re-parameterized is exported in its deployed form. Predictions are
    compared on the run's test images, at most `maximum`. Raises ExportError, without leaving a
    file, if a prediction differs, a library is missing, or torch cannot export the model.
    """
    model = Exported(restore_run(run)).eval()
    size = run.record.spec.image_size
    images, of = _test_images(run, size, maximum)
    expected = _run(lambda some: model(torch.from_numpy(some)).numpy(), images)
    try:
        other = deployed_alike(model, torch.from_numpy(images[:2]))
    except CostError:  # export the trained form
        other = None
    try:
        with output_file(output) as unfinished:
            with _quiet():
                runtime = _FORMATS[form](other or model, size, card(run.record), unfinished)
            checked = _compare(expected, _run(runtime, images), of)
    except OSError as error:
        raise ExportError(f"{output}: cannot be written: {error.strerror or error}") from None
    return dataclasses.replace(checked, deployed=other is not None)


def _test_images(run: FinishedRun, size: int, maximum: int | None) -> tuple[Images, str]:
    """Test images uint8 [n, size, size, 3] of the run, or random ones, with their description."""
    spec = run.record.spec
    try:
        if not run.has(files.MANIFEST):
            raise DataError("its manifest has changed")
        manifest = pd.read_parquet(run.folder.path / files.MANIFEST)
        array = open_pixels(spec.pixels)
        test = SplitImages.open(manifest, spec.data_summary.classes, array, "test")
        if array.shape[1] != size or test.rows.max(initial=0) >= len(array):
            raise DataError("the images have changed")
        indices = np.arange(len(test) if maximum is None else min(maximum, len(test)))
        return test.images(indices), f"of the run's {len(test):,} test images"
    except (DataError, OSError, ValueError):
        drawn = np.random.default_rng(0).integers(0, 256, (DRAWN, size, size, 3), dtype=np.uint8)
        return drawn, "random images, because the run's own are no longer in the cache"


def _run(predict: Runtime, images: Images) -> Probabilities:
    with torch.inference_mode():
        parts = [predict(images[i : i + BATCH_SIZE]) for i in range(0, len(images), BATCH_SIZE)]
    return np.concatenate(parts)


def _compare(expected: Probabilities, actual: Probabilities, of: str) -> Checked:
    """Compare predictions; raises ExportError if the predicted class of an image differs.

    Two classes with equal probability, within the tolerance, may swap.
    """
    difference = float(np.abs(actual - expected).max())
    best = np.arange(len(expected)), expected.argmax(1)
    other = expected[best] - expected[np.arange(len(expected)), actual.argmax(1)] > TOLERANCE
    if not difference <= TOLERANCE or other.any():  # a NaN difference also fails
        raise ExportError(
            f"predictions of the exported model differ from the run's: probabilities by up to "
            f"{difference:.2g} (tolerance: {TOLERANCE:g}), predicted classes of "
            f"{int(other.sum())} of {len(expected)} images; try another --format"
        )
    return Checked(len(expected), of, difference)


def _example(size: int) -> torch.Tensor:
    # Batch size 2, because torch.export specialises a dimension of size 1.
    return torch.zeros(2, size, size, 3, dtype=torch.uint8)


def _program(model: Exported, size: int) -> torch.export.ExportedProgram:
    dynamic_shapes = {"images": {0: torch.export.Dim("n", min=1)}}
    try:
        return torch.export.export(model, (_example(size),), dynamic_shapes=dynamic_shapes)
    except Exception as error:  # torch's tracer raises many kinds
        raise ExportError(
            f"torch cannot export this architecture: {first_line(error)}; try --format torchscript"
        ) from None


def _to_torch(model: Exported, size: int, card_text: str, path: Path) -> Runtime:
    content = io.BytesIO()
    torch.export.save(_program(model, size), content, extra_files={CARD: card_text})
    path.write_bytes(content.getvalue())
    content.seek(0)
    loaded = torch.export.load(content).module()
    return lambda some: np.asarray(loaded(torch.from_numpy(some)))


def _to_torchscript(model: Exported, size: int, card_text: str, path: Path) -> Runtime:
    content = io.BytesIO()
    try:
        traced = torch.jit.trace(model, _example(size))  # type: ignore[no-untyped-call]
    except Exception as error:  # as above
        raise ExportError(
            f"torch cannot trace this architecture: {first_line(error)}; try --format onnx"
        ) from None
    torch.jit.save(traced, content, _extra_files={CARD: card_text})
    path.write_bytes(content.getvalue())
    content.seek(0)
    loaded: Any = torch.jit.load(content)  # type: ignore[no-untyped-call]
    return lambda some: np.asarray(loaded(torch.from_numpy(some)))


def _to_onnx(model: Exported, size: int, card_text: str, path: Path) -> Runtime:
    try:
        import onnx  # noqa: F401 - torch's exporter needs both
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"{error.name} is not installed: pip install 'bench-architectures[export]'"
        ) from None
    from benchmark.export.onnx_model import to_onnx

    try:
        content = to_onnx(model, size, card_text).SerializeToString()
    except ExportError as error:
        raise ExportError(f"{error}; try --format torch or torchscript") from None
    path.write_bytes(content)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda some: session.run([OUTPUT], {INPUT: some})[0]


_FORMATS: dict[str, Callable[[Exported, int, str, Path], Runtime]] = {
    "onnx": _to_onnx,
    "torch": _to_torch,
    "torchscript": _to_torchscript,
}
FORMATS = tuple(_FORMATS)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress output and warnings of the exporters, which users cannot act on."""
    with (
        without_log_warnings(),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
