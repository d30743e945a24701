"""The reference loop of the published study: PIL in a data loader, the backbone run every epoch."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tests.performance.run_inputs import SIZE

Files = list[tuple[Path, int]]


class JpegFiles(Dataset[tuple[Tensor, int]]):
    """Images decoded, resized, mirrored and normalised one by one, each time anew."""

    def __init__(self, files: Files, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """`files` are paths and class numbers."""
        self.files = files
        self.mean = torch.tensor(mean)[:, None, None]
        self.std = torch.tensor(std)[:, None, None]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        path, target = self.files[place]
        with Image.open(path) as image:
            pixels = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            pixels = pixels.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255
        return (pixels - self.mean) / self.std, target


def loader(files: Files, config: dict[str, tuple[float, ...]], shuffle: bool) -> DataLoader[object]:
    """Batches of 16 by two worker processes."""
    images = JpegFiles(files, config["mean"], config["std"])
    return DataLoader(images, 16, shuffle=shuffle, num_workers=2)


def train_epoch(
    model: nn.Module, batches: DataLoader[object], optimizer: torch.optim.Optimizer
) -> float:
    """One epoch; return its seconds."""
    started = time.perf_counter()
    for images, targets in batches:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()
    return time.perf_counter() - started


def evaluate(model: nn.Module, batches: DataLoader[object]) -> float:
    """One pass without gradients; return its seconds."""
    started = time.perf_counter()
    with torch.no_grad():
        for images, targets in batches:
            (model(images).argmax(1) == targets).sum().item()
    return time.perf_counter() - started


def build(name: str, classes: int, frozen: bool) -> tuple[nn.Module, dict[str, tuple[float, ...]]]:
    """A timm network in torch's default memory layout, and its data configuration.

    A frozen backbone stays in evaluation mode: the study with fixed batch norm, as ours.
    """
    model: nn.Module = timm.create_model(name, num_classes=classes)
    if frozen:
        model.eval().requires_grad_(False)
        model.get_classifier().requires_grad_(True)  # type: ignore[operator]
    return model, timm.data.resolve_data_config({}, model=model)
