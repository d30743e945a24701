"""Check that a network's deployed form has the same outputs as its training form."""

from __future__ import annotations

import torch

from clothclf.cost.count import CostRequest
from clothclf.cost.network import build_on_cpu
from clothclf.models.reparameterize import deployed_alike, randomize


def check_deployed_form(request: CostRequest, features: int) -> None:
    """Compare the outputs of both forms; raises CostError if they differ.

    Uses a real instance with random parameters and batch-norm statistics, and two random images.
    Must run before `skip_products`. `features` as for `build_on_cpu`.
    """
    torch.manual_seed(0)
    # Double precision: random networks can amplify float32 rounding beyond any tolerance. Set as
    # the default dtype, since some conversions create new layers with it.
    default_dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        network = build_on_cpu(request, features, drawn=True)
        images = torch.randn(2, *network.image.shape[1:])
        randomize(network.model.double(), images)
        deployed_alike(network.model, images)
    finally:
        torch.set_default_dtype(default_dtype)
