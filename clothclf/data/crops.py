"""Batched random crops on the device of the images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def padded_crop(pixels: Tensor, shift: Tensor, padding: int) -> Tensor:
    """Pad images by reflection and crop each at its own offset.

    `pixels` is uint8 [n, size, size, 3]; `shift` [n, 2] is the row and column in the padded image.
    """
    if padding == 0:
        return pixels
    count, height, width, _ = pixels.shape
    planes = pixels.permute(0, 3, 1, 2).float()
    padded = functional.pad(planes, (padding,) * 4, mode="reflect").to(pixels.dtype)
    rows = shift[:, :1] + torch.arange(height, device=pixels.device)
    columns = shift[:, 1:] + torch.arange(width, device=pixels.device)
    image = torch.arange(count, device=pixels.device)[:, None, None]
    # Advanced indices around a slice move the channels last.
    return padded[image, :, rows[:, :, None], columns[:, None, :]]


def resized_crop(pixels: Tensor, box: Tensor) -> Tensor:
    """Crop a rectangle from each image and resize it to full size, with bilinear interpolation.

    `pixels` is uint8 [n, size, size, 3]; `box` [n, 4] is top, left, height and width as fractions.
    """
    top, left, height, width = box.float().unbind(1)
    zero = torch.zeros_like(top)
    across = torch.stack([width, zero, 2 * left + width - 1], dim=1)
    down = torch.stack([zero, height, 2 * top + height - 1], dim=1)
    planes = pixels.permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(
        torch.stack([across, down], dim=1), list(planes.shape), align_corners=False
    )
    cut = functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    return cut.round().to(pixels.dtype).permute(0, 2, 3, 1)
