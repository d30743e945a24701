"""Variants that run in OpenVINO: float32, and int8 by post-training quantization (NNCF)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino.passes import ConstantFolding, Manager

from benchmark.deploy.base import BuildContext, Images, LoadContext, Predict, Probabilities
from benchmark.deploy.problems import MIN_SIGNAL_TO_NOISE, signal_to_noise
from benchmark.export.model_card import INPUT

MODEL = "model.xml"
ATTENTION_SOFTMAX = 2
"""From this number of softmax operators on, a network is quantized as a transformer."""


class _OpenVino:
    """OpenVINO on the CPU, in the precision of the file."""

    title = "OpenVINO"
    precision = "float32"

    def build(self, context: BuildContext, folder: Path) -> None:
        """Convert the run's ONNX file, and write it to `folder`."""
        openvino.save_model(_read(context), folder / MODEL, compress_to_fp16=False)

    def load(self, context: LoadContext) -> Predict:
        """Compile the file; images uint8 [n, size, size, 3] to probabilities [n, classes]."""
        settings = {
            "INFERENCE_NUM_THREADS": context.threads,
            "PERFORMANCE_HINT": "LATENCY",
            # Else newer CPUs compute in bfloat16, whatever the file says.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = openvino.Core().compile_model(context.folder / MODEL, "CPU", settings)
        request = compiled.create_infer_request()

        def predict(images: Images) -> Probabilities:
            # A copy: the request does not share its outputs.
            probabilities: Probabilities = request.infer({INPUT: images}, share_inputs=True)[0]
            return probabilities

        return predict

    def version(self) -> str:
        """Return the version of OpenVINO."""
        return f"openvino {openvino.__version__.partition('-')[0]}"


class _OpenVinoInt8(_OpenVino):
    """Post-training quantization; with `max_drop`, layers that cost accuracy stay in float32."""

    title = "int8 in OpenVINO"
    precision = "int8"

    def build(self, context: BuildContext, folder: Path) -> None:
        """Quantize the run's network to int8 with NNCF, and write it to `folder`."""
        import nncf

        model = _read(context)
        images = context.calibration()
        softmax = sum(node.get_type_name() == "Softmax" for node in model.get_ops())
        kind = nncf.ModelType.TRANSFORMER if softmax > ATTENTION_SOFTMAX else None
        if context.max_drop is None:
            quantized = _least_noisy(context, images, kind)
        else:
            calibration = _dataset(images)
            valid, targets = context.validation()
            items = [(valid[i : i + 1], int(targets[i])) for i in range(len(valid))]
            quantized = nncf.quantize_with_accuracy_control(
                model,
                calibration,
                nncf.Dataset(items),
                _accuracy,
                max_drop=context.max_drop / 100,
                subset_size=len(images),
                model_type=kind,
            )
        openvino.save_model(quantized, folder / MODEL, compress_to_fp16=False)


def _read(context: BuildContext) -> Any:
    if context.onnx is None:
        raise ValueError("OpenVINO needs the ONNX file")
    model = openvino.Core().read_model(context.onnx)
    # Biases are read as shape arithmetic, and an int8 convolution with such a bias is computed
    # wrongly: 3 dB of signal to noise instead of 32 in test_resnet.
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    return model


def _least_noisy(context: BuildContext, images: Images, kind: Any) -> Any:
    """Quantize, again without correcting biases if that has left too much noise.

    NNCF corrects them as if feature maps were constant. That halves the noise of EfficientNet-Lite
    at 112 pixels, but adds to it where small maps are mostly border.
    """
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    expected = _predict_all(_read(context), images)
    best, best_ratio = None, -math.inf
    for skip in (False, True):
        quantized = nncf.quantize(
            _read(context),
            _dataset(images),
            subset_size=len(images),
            model_type=kind,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                disable_bias_correction=skip,
                # By default, the mean range of single images, which clips many of them.
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            ),
        )
        noise = signal_to_noise(_predict_all(quantized, images), expected)
        if noise > best_ratio:
            best, best_ratio = quantized, noise
        if best_ratio >= MIN_SIGNAL_TO_NOISE:
            break
    return best


def _predict_all(model: Any, images: Images) -> Probabilities:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    probabilities: Probabilities = compiled({INPUT: images})[0].copy()
    return probabilities


def _dataset(images: Images) -> Any:
    import nncf

    return nncf.Dataset([images[i : i + 1] for i in range(len(images))], _as_input)


def _as_input(images: Images) -> dict[str, Images]:
    return {INPUT: images}


def _accuracy(compiled: Any, items: Iterable[tuple[Images, int]]) -> tuple[float, list[float]]:
    """Accuracy over all items, and whether each one is correct."""
    right = [float(compiled({INPUT: image})[0].argmax() == target) for image, target in items]
    return float(np.mean(right)), right


RUNTIMES = {"openvino": _OpenVino(), "openvino-int8": _OpenVinoInt8()}
