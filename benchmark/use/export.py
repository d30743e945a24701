"""Write a trained run as ONNX, exported program or TorchScript, and check what it answers."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from benchmark.errors import ExportError
from benchmark.find_run import FoundRun
from benchmark.runner import run_folder as files
from benchmark.use.answering import BATCH_SIZE, restore_run
from benchmark.use.exported import CARD, INPUT, OUTPUT, Exported, card
from clothclf.data.atomic import output_file
from clothclf.data.dataset import SplitImages, open_pixels
from clothclf.errors import CostError, DataError, first_line
from clothclf.models.deploy import deployed_alike

TOLERANCE = 1e-4
"""Largest difference of a probability that rounding explains."""
DRAWN = 64
"""Pictures of noise to compare by, where the run's own are not at hand."""

Pictures = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]
Runtime = Callable[[Pictures], Probabilities]


@dataclasses.dataclass(frozen=True)
class Checked:
    """How far the exported model's answers lie from the run's."""

    pictures: int
    of: str
    """Which pictures they were."""
    largest_difference: float
    """Of a probability."""
    deployed: bool = False
    """Whether the run's network was re-parameterised for it."""


def export(found: FoundRun, form: str, output: Path, most: int | None = None) -> Checked:
    """Export a finished run to `output`, once its answers are found to be the classifier's own.

    A network that can be re-parameterised is exported in its deployed form. Answers are compared on
    the run's test pictures, `most` of them at most. Raises ExportError, and leaves no file, where
    an answer differs, a library is missing, or torch cannot export it.
    """
    model = Exported(restore_run(found)).eval()
    size = found.record.spec.image_size
    pictures, of = _test_pictures(found, size, most)
    expected = _run(lambda some: model(torch.from_numpy(some)).numpy(), pictures)
    try:
        other = deployed_alike(model, torch.from_numpy(pictures[:2]))
    except CostError:  # then as it was trained
        other = None
    try:
        with output_file(output) as unfinished:
            with _quiet():
                runtime = _FORMATS[form](other or model, size, card(found.record), unfinished)
            checked = _compare(expected, _run(runtime, pictures), of)
    except OSError as error:
        raise ExportError(f"{output}: cannot be written: {error.strerror or error}") from None
    return dataclasses.replace(checked, deployed=other is not None)


def _test_pictures(found: FoundRun, size: int, most: int | None) -> tuple[Pictures, str]:
    """Pictures uint8 [n, size, size, 3] of the run's test split, or noise, and in words which."""
    spec = found.record.spec
    try:
        if not found.has(files.MANIFEST):
            raise DataError("its manifest is not what the run wrote")
        manifest = pd.read_parquet(found.folder.path / files.MANIFEST)
        array = open_pixels(spec.pixels)
        test = SplitImages.open(manifest, spec.data_summary.classes, array, "test")
        if array.shape[1] != size or test.rows.max(initial=0) >= len(array):
            raise DataError("other pictures")
    except (DataError, OSError, ValueError):
        drawn = np.random.default_rng(0).integers(0, 256, (DRAWN, size, size, 3), dtype=np.uint8)
        return drawn, "pictures of noise, as the run's own are not in the cache any more"
    places = np.arange(len(test) if most is None else min(most, len(test)))
    return test.images(places), f"of the run's {len(test):,} test pictures"


def _run(answer: Runtime, pictures: Pictures) -> Probabilities:
    with torch.inference_mode():
        parts = [answer(pictures[i : i + BATCH_SIZE]) for i in range(0, len(pictures), BATCH_SIZE)]
    return np.concatenate(parts)


def _compare(expected: Probabilities, found: Probabilities, of: str) -> Checked:
    """Raise ExportError where a picture would get another answer.

    Two classes as probable as each other, to the tolerance, may change places.
    """
    difference = float(np.abs(found - expected).max())
    best = np.arange(len(expected)), expected.argmax(1)
    other = expected[best] - expected[np.arange(len(expected)), found.argmax(1)] > TOLERANCE
    if not difference <= TOLERANCE or other.any():  # NaN is no agreement
        raise ExportError(
            f"the exported model does not answer as the run does: probabilities differ by up to "
            f"{difference:.2g} (allowed: {TOLERANCE:g}), the class of {int(other.sum())} of "
            f"{len(expected)} pictures is another; try another --format"
        )
    return Checked(len(expected), of, difference)


def _example(size: int) -> torch.Tensor:
    # Two: a batch of one would be taken for a constant.
    return torch.zeros(2, size, size, 3, dtype=torch.uint8)


def _program(model: Exported, size: int) -> torch.export.ExportedProgram:
    any_number = {"pictures": {0: torch.export.Dim("n", min=1)}}
    try:
        return torch.export.export(model, (_example(size),), dynamic_shapes=any_number)
    except Exception as error:  # torch's tracer raises many kinds
        raise ExportError(
            f"torch cannot export this architecture: {first_line(error)}; try --format torchscript"
        ) from None


def _to_torch(model: Exported, size: int, told: str, path: Path) -> Runtime:
    content = io.BytesIO()
    torch.export.save(_program(model, size), content, extra_files={CARD: told})
    path.write_bytes(content.getvalue())
    content.seek(0)
    loaded = torch.export.load(content).module()
    return lambda some: np.asarray(loaded(torch.from_numpy(some)))


def _to_torchscript(model: Exported, size: int, told: str, path: Path) -> Runtime:
    content = io.BytesIO()
    try:
        traced = torch.jit.trace(model, _example(size))  # type: ignore[no-untyped-call]
    except Exception as error:  # as above
        raise ExportError(
            f"torch cannot trace this architecture: {first_line(error)}; try --format onnx"
        ) from None
    torch.jit.save(traced, content, _extra_files={CARD: told})
    path.write_bytes(content.getvalue())
    content.seek(0)
    loaded: Any = torch.jit.load(content)  # type: ignore[no-untyped-call]
    return lambda some: np.asarray(loaded(torch.from_numpy(some)))


def _to_onnx(model: Exported, size: int, told: str, path: Path) -> Runtime:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise ExportError(
            f"{error.name} is not installed: pip install 'bench-architectures[export]'"
        ) from None
    try:
        program = torch.onnx.export(
            model,
            (_example(size),),
            dynamo=True,
            dynamic_shapes={"pictures": {0: torch.export.Dim("n", min=1)}},
            input_names=[INPUT],
            output_names=[OUTPUT],
        )
    except Exception as error:  # as above
        raise ExportError(
            f"torch cannot export this architecture to ONNX: {first_line(error)}; "
            "try --format torch or torchscript"
        ) from None
    if program is None:
        raise ExportError("torch gave no ONNX program; try --format torch")
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {CARD: told})
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda some: session.run([OUTPUT], {INPUT: some})[0]


_FORMATS: dict[str, Callable[[Exported, int, str, Path], Runtime]] = {
    "onnx": _to_onnx,
    "torch": _to_torch,
    "torchscript": _to_torchscript,
}
FORMATS = tuple(_FORMATS)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' reports on themselves, which say nothing that a user could mend."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
