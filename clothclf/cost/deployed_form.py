"""Find out whether a network's deployed form answers as the one that trains."""

from __future__ import annotations

import torch

from clothclf.cost.count import CostRequest
from clothclf.cost.network import build_on_cpu
from clothclf.models.deploy import deployed_alike, randomize


def check_deployed_form(request: CostRequest, features: int) -> None:
    """Compare the outputs of both forms; raises CostError where they differ.

    On a real instance with random parameters and batch-norm statistics, and two random images;
    for a process in which torch still computes. `features` as for `build_on_cpu`.
    """
    torch.manual_seed(0)
    # In double precision: random networks can blow float32's rounding up beyond any tolerance.
    # By default, since some conversions make their new layers with it.
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        network = build_on_cpu(request, features, drawn=True)
        images = torch.randn(2, *network.image.shape[1:])
        randomize(network.model.double(), images)
        deployed_alike(network.model, images)
    finally:
        torch.set_default_dtype(usual)
