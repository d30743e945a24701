"""Classifier: a timm backbone with our head, frozen or trainable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from clothclf.errors import ArchitectureError, first_line
from clothclf.models.architectures import normalization
from clothclf.settings import HeadSettings, ModelSettings, Precision

# Below this fraction of its mean, a feature's deviation is float32 rounding.
MIN_DEVIATION_OF_MEAN = 1e-6
# Below this fraction of the layer's median deviation, a feature is constant for practical purposes.
MIN_DEVIATION_OF_LAYER = 1e-4
MAX_STANDARDIZED = 10.0
"""Standardized features are clipped to this many standard deviations."""


class Standardize(nn.Module):
    """Standardize features [n, features] by the mean and deviation of the training split.

    A feature that is almost constant on training images may vary on others: a ReLU that is dead on
    700 training images and active on one validation image would be 10^9 deviations away, and that
    image alone would determine the mean loss, and thus the best epoch. Therefore, a feature with a
    deviation below 1/10,000 of the layer's median deviation counts as constant (0), and the others
    are clipped to `MAX_STANDARDIZED` deviations. Clipping has little effect on training images: at
    most `n` / 100 of `n` images can lie beyond 10 deviations of a feature (Chebyshev's inequality).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int) -> None:
        """Initialize as the identity."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def fit(self, features: Tensor) -> None:
        """Set mean and scale from training features [n, features]; constant ones become 0."""
        # In chunks, to avoid a float64 copy of all features; on the CPU instead of Apple's GPUs,
        # which do not support float64.
        parts = torch.split(features, 4096)
        index = torch.device("cpu") if features.device.type == "mps" else features.device
        mean = torch.stack([part.to(index).double().sum(0) for part in parts]).sum(0)
        mean /= len(features)
        squares = [(part.to(index).double() - mean).square().sum(0) for part in parts]
        deviation = (torch.stack(squares).sum(0) / max(1, len(features) - 1)).sqrt()
        moves = deviation > MIN_DEVIATION_OF_MEAN * mean.abs()
        if moves.any():
            moves &= deviation > MIN_DEVIATION_OF_LAYER * deviation[moves].median()
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(moves, 1 / deviation.clamp_min(1e-30), 0.0))

    def forward(self, features: Tensor) -> Tensor:
        """Return features with mean 0 and standard deviation 1, clipped."""
        scaled = (features - self.mean) * self.scale
        return scaled.clamp(-MAX_STANDARDIZED, MAX_STANDARDIZED)


class Head(nn.Sequential):
    """Classifier head: features [n, features] to class scores (logits) [n, classes]."""

    def __init__(
        self, features: int, classes: int, settings: HeadSettings, standardize: bool
    ) -> None:
        """Build the layers, initialized with torch's defaults from its current seed."""
        layers: list[nn.Module] = [Standardize(features)] if standardize else []
        if settings.dropout:
            layers.append(nn.Dropout(settings.dropout))
        width = features
        if settings.hidden is not None:
            layers += [nn.Linear(features, settings.hidden), nn.ReLU()]
            width = settings.hidden
        super().__init__(*layers, nn.Linear(width, classes))
        self.features = features
        self.classes = classes

    def standardize(self) -> Standardize | None:
        """Return the standardization layer, if there is one."""
        return self[0] if isinstance(self[0], Standardize) else None


class Classifier(nn.Module):
    """Images float32 [n, 3, size, size] to class scores [n, classes]: `head(backbone(images))`.

    A frozen backbone gets no gradients and disables dropout and stochastic depth. Its batch-norm
    statistics are kept (`fixed`) or updated by training batches (`drifting`), as happens in a
    training loop that calls `train()` on the whole model.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: Head,
        settings: ModelSettings,
        precision: Precision = "float32",
    ) -> None:
        """Combine backbone and head; a frozen backbone's parameters do not require gradients.

        `precision` applies to the backbone's convolutions and matrix products. Its parameters, the
        head and the loss are always float32.
        """
        super().__init__()
        self.precision: Precision = precision
        self.backbone = backbone
        self.head = head
        self.frozen = settings.mode == "frozen"
        self.backbone_frozen = False
        """Whether only the head trains at the moment."""
        self.drifting = settings.batch_norm == "drifting"
        self.normalization = normalization(backbone)
        self.temperature = 1.0
        """Divides the scores for calibrated probabilities; training leaves it at 1."""
        if self.frozen:
            backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> Classifier:
        """Set training or evaluation mode of the head, and of the backbone unless it is frozen."""
        super().train(mode)
        if self.frozen or self.backbone_frozen:
            self.backbone.eval()
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.training = mode and self.drifting
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores (logits) [n, classes]."""
        if self.frozen or self.backbone_frozen:
            with torch.no_grad():
                features = self.features(images)
        else:
            features = self.features(images)
        scores: Tensor = self.head(features)
        return scores

    def features(self, images: Tensor) -> Tensor:
        """Return the backbone's output, float32 [n, features]."""
        if self.precision == "float32":
            exact: Tensor = self.backbone(images)
            return exact
        with torch.autocast(images.device.type, torch.bfloat16):
            features: Tensor = self.backbone(images)
        return features.float()

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state dict, including those of earlier versions (see `current_names`)."""
        return super().load_state_dict(current_names(state_dict), strict, assign)

    def trained_state(self) -> dict[str, Tensor]:
        """Return copies of the tensors of `trained_tensors`."""
        return {name: tensor.clone() for name, tensor in self.trained_tensors().items()}

    def trained_tensors(self) -> dict[str, Tensor]:
        """Return the tensors that training changes; of a frozen backbone, only drifting buffers."""
        fixed: set[str] = set()
        if self.frozen:
            fixed = {f"backbone.{name}" for name, _ in self.backbone.named_parameters()}
            if not self.drifting:
                fixed |= {f"backbone.{name}" for name, _ in self.backbone.named_buffers()}
        return {
            name: tensor.detach() for name, tensor in self.state_dict().items() if name not in fixed
        }

    def backbone_is_deterministic(self) -> bool:
        """Return whether the features of an image never change, so that they can be cached."""
        has_norms = any(isinstance(module, _BatchNorm) for module in self.backbone.modules())
        return self.frozen and not (self.drifting and has_norms)


def current_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors of a saved classifier: the backbone was formerly called body."""
    return {re.sub(r"^body\.", "backbone.", name): tensor for name, tensor in state.items()}


def feature_count(backbone: nn.Module, image_size: int, name: str) -> int:
    """Return the length of a backbone's feature vector, found by a forward pass.

    Raises ArchitectureError if the backbone does not accept the size or returns no vector.
    """
    backbone.eval()
    first_parameter = next(backbone.parameters(), None)
    device = torch.device("cpu") if first_parameter is None else first_parameter.device
    try:
        with torch.no_grad():
            features = backbone(torch.zeros(1, 3, image_size, image_size, device=device))
    except Exception as error:  # architectures raise arbitrary exceptions
        first = first_line(error)
        raise ArchitectureError(
            f"architecture {name!r} does not accept images of {image_size} x {image_size} pixels "
            f"(data.image_size): {first}"
        ) from None
    if not isinstance(features, Tensor) or features.ndim != 2:
        output = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ArchitectureError(
            f"architecture {name!r} returns no feature vector to classify: its output for one "
            f"image is {output}, not [1, features]"
        )
    return int(features.shape[1])
