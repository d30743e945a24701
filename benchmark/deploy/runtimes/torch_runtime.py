"""Variants that run in torch: eager float32, bfloat16, and compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmark.deploy.base import BuildContext, Images, LoadContext, Predict, Probabilities
from benchmark.deploy.inference_network import inference_network
from benchmark.export.exported import Exported
from benchmark.runs.find import open_run

TENSORS = "model.safetensors"


class _BFloat16(nn.Module):
    """Backbone in bfloat16 between float32 preprocessing and head."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone.bfloat16()

    def forward(self, images: Tensor) -> Tensor:
        """Class probabilities float32 [n, classes] of images uint8 [n, size, size, 3]."""
        features: Tensor = self.backbone(images.bfloat16())
        return features.float()


class _Torch:
    """Torch at one precision. The file has the tensors; the run's record has the structure."""

    def __init__(self, title: str, precision: str, compiled: bool = False) -> None:
        self.title = title
        self.precision = precision
        self._compiled = compiled

    def build(self, context: BuildContext, folder: Path) -> None:
        """Write the tensors of the run's network to `folder`."""
        state = self._cast(context.network()).state_dict()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / TENSORS)

    def load(self, context: LoadContext) -> Predict:
        """Restore the network; images uint8 [n, size, size, 3] to probabilities [n, classes]."""
        torch.set_num_threads(context.threads)
        network = self._cast(inference_network(open_run(context.run)))
        network.load_state_dict(load_file(context.folder / TENSORS))
        run: Any = torch.compile(network) if self._compiled else network

        def predict(images: Images) -> Probabilities:
            with torch.inference_mode():
                probabilities: Probabilities = run(torch.from_numpy(images)).numpy()
            return probabilities

        return predict

    def version(self) -> str:
        """Return the version of torch."""
        return f"torch {torch.__version__}"

    def _cast(self, network: Exported) -> Exported:
        if self.precision == "bfloat16":
            network.classifier.backbone = _BFloat16(network.classifier.backbone)
        return network.eval()


RUNTIMES = {
    "torch": _Torch("torch", "float32"),
    "torch-bfloat16": _Torch("bfloat16 in torch", "bfloat16"),
    "torch-compile": _Torch("compiled torch", "float32", compiled=True),
}
