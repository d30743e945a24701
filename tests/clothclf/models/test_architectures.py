"""Architecture names: wildcards, suggestions, and input sizes."""

from __future__ import annotations

import pytest
import torch

from clothclf.errors import ArchitectureError
from clothclf.models.architectures import (
    create_for_size,
    default_size,
    expand_names,
    is_wildcard,
    normalization,
)


def test_names_keep_their_order_and_come_once() -> None:
    assert expand_names(["vgg16", "resnet18", "vgg16"]) == ["vgg16", "resnet18"]


def test_wildcards_are_timms() -> None:
    names = expand_names(["efficientnet_b[01]", "efficientnet_b0"])
    assert names == ["efficientnet_b0", "efficientnet_b1"]
    assert is_wildcard("vgg*")
    assert not is_wildcard("vgg16")


def test_unknown_names_are_reported_with_near_ones() -> None:
    with pytest.raises(ArchitectureError, match=r"'vgg61' is not known .*did you mean .*vgg16"):
        expand_names(["vgg61"])
    with pytest.raises(ArchitectureError, match="matches no timm architecture"):
        expand_names(["no_such_thing_*"])


def test_a_tag_is_known_too_or_reported_with_near_ones() -> None:
    assert expand_names(["vgg16.tv_in1k"]) == ["vgg16.tv_in1k"]
    for ask in (lambda name: expand_names([name]), lambda name: create_for_size(name, 64)):
        with pytest.raises(ArchitectureError, match=r"mean vgg16\.tv_in1k") as caught:
            ask("vgg16.tv_in1")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [32, 64, 160])
@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_convnext"])
def test_architectures_take_the_size_that_is_asked_for(name: str, size: int) -> None:
    """Architectures with position embeddings are built for the size, the others unchanged."""
    model = create_for_size(name, size, num_classes=0).eval()
    assert model(torch.zeros(2, 3, size, size)).ndim == 2


def test_each_architecture_has_its_own_normalisation() -> None:
    assert default_size("vgg16") == 224
    vgg = normalization(create_for_size("test_vit", 160))
    lite = normalization(create_for_size("tf_efficientnet_lite0", 224))
    assert lite.mean == (0.5, 0.5, 0.5)
    assert len(vgg.std) == 3
