"""The network of a run as it is deployed: preprocessing, folded classifier, temperature."""

from __future__ import annotations

import contextlib

import numpy as np
import torch

from benchmark.export.exported import Exported
from benchmark.inference.predictor import restore_run
from benchmark.runs.find import FinishedRun
from clothclf.errors import CostError
from clothclf.models.fold import folded
from clothclf.models.reparameterize import deployed_alike


def inference_network(run: FinishedRun) -> Exported:
    """Restore the network of a finished run for inference, in float32 and on the CPU.

    It is re-parameterized where that is possible, and batch norms are folded into convolutions.
    Raises WeightsError if the run's weights are not available.
    """
    size = run.record.spec.image_size
    exported = Exported(restore_run(run)).eval()
    drawn = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    with contextlib.suppress(CostError):  # then its trained form is deployed
        exported = deployed_alike(exported, torch.from_numpy(drawn)) or exported
    exported.classifier = folded(exported.classifier, size)
    return exported.eval()
