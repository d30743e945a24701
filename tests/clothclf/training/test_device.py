"""Device selection."""

from __future__ import annotations

import pytest
import torch

from clothclf.device import device_name, select_device
from clothclf.errors import DeviceError


def test_cpu_is_always_there() -> None:
    assert select_device("cpu") == torch.device("cpu")
    assert device_name(torch.device("cpu")) == "cpu"


def test_auto_is_the_best_that_is_there() -> None:
    device = select_device("auto")
    if torch.cuda.is_available():
        assert device.type == "cuda"
    elif torch.backends.mps.is_available():
        assert device.type == "mps"
    else:
        assert device.type == "cpu"
    assert torch.zeros(1, device=device).sum().item() == 0


def test_a_device_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(DeviceError, match="cuda:99 is not available: torch finds"):
        select_device("cuda:99")
    if not torch.backends.mps.is_available():
        with pytest.raises(DeviceError, match="mps is not available"):
            select_device("mps")
