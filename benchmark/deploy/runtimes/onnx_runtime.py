"""Variants that run in ONNX Runtime: float32, and int8 by static quantization."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from benchmark.deploy.base import BuildContext, Images, LoadContext, Predict, Probabilities
from benchmark.export.model_card import INPUT, OUTPUT

MODEL = "model.onnx"


class _OnnxRuntime:
    """ONNX Runtime on the CPU."""

    title = "ONNX Runtime"
    precision = "float32"

    def build(self, context: BuildContext, folder: Path) -> None:
        """Write the run's ONNX file to `folder`."""
        from benchmark.export.onnx_model import to_onnx

        model = to_onnx(context.network(), context.image_size, context.card)
        (folder / MODEL).write_bytes(model.SerializeToString())

    def load(self, context: LoadContext) -> Predict:
        """Open the file; images uint8 [n, size, size, 3] to probabilities [n, classes]."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = context.threads
        session = onnxruntime.InferenceSession(
            context.folder / MODEL, options, providers=["CPUExecutionProvider"]
        )

        def predict(images: Images) -> Probabilities:
            probabilities: Probabilities = session.run([OUTPUT], {INPUT: images})[0]
            return probabilities

        return predict

    def version(self) -> str:
        """Return the version of ONNX Runtime."""
        return f"onnxruntime {onnxruntime.__version__}"


class _OnnxRuntimeInt8(_OnnxRuntime):
    """Static quantization: weights by channel (int8), activations by tensor (uint8)."""

    title = "int8 in ONNX Runtime"
    precision = "int8"

    def build(self, context: BuildContext, folder: Path) -> None:
        """Quantize the run's ONNX file to int8, and write it to `folder`."""
        from benchmark.deploy.runtimes.onnx_quantization import quantize

        if context.onnx is None:
            raise ValueError("int8 needs the ONNX file")
        quantize(context.onnx, folder / MODEL, context.calibration(), context.card)


RUNTIMES = {"onnxruntime": _OnnxRuntime(), "onnxruntime-int8": _OnnxRuntimeInt8()}
