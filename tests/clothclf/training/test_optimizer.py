"""Optimizer: parameter groups, learning rates, and state in checkpoints."""

from __future__ import annotations

import io

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from clothclf.models.build import build_classifier
from clothclf.models.weights import RANDOM
from clothclf.settings import HeadSettings, ModelSettings
from clothclf.training.optimizer import (
    load_optimizer_state,
    make_optimizer,
    optimizer_names,
    optimizer_state,
    option_names,
    parameter_groups,
    set_learning_rate,
)
from tests.clothclf.training.test_loop import build, recipe

pytestmark = pytest.mark.usefixtures("one_thread")


def test_by_default_the_optimiser_is_torchs_plain_sgd_over_one_group() -> None:
    classifier = build(mode="finetune")
    optimizer = make_optimizer(classifier, recipe(weight_decay=0.01))
    assert type(optimizer) is torch.optim.SGD
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in classifier.parameters()]
    result = {key: group[key] for key in ("lr", "momentum", "weight_decay", "nesterov", "fused")}
    assert result == {
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "nesterov": False,
        "fused": True,
    }


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_layer_decay_gives_each_layer_timms_rate(name: str) -> None:
    """Equal to timm's groups with its own classifier; our head has the full rate."""
    size = 160 if name == "test_vit" else 32
    model = ModelSettings(weights="none", mode="finetune")
    classifier = build_classifier(name, HeadSettings(), model, 3, size, RANDOM, 0)
    settings = recipe(layer_decay=0.5, weight_decay=0.05, decay_norms_and_biases=False)
    result = {
        id(parameter): (group["lr_scale"], group["weight_decay"])
        for group in parameter_groups(classifier, settings)
        for parameter in group["params"]
    }
    whole = timm.create_model(name, num_classes=3)
    spared = getattr(whole, "no_weight_decay", set)()
    groups = param_groups_layer_decay(whole, 0.05, spared, layer_decay=0.5)
    names = {id(parameter): name for name, parameter in whole.named_parameters()}
    expected = {
        names[id(parameter)]: (group["lr_scale"], group["weight_decay"])
        for group in groups
        for parameter in group["params"]
    }
    backbone = {n: result[id(p)] for n, p in classifier.backbone.named_parameters()}
    assert backbone == {n: value for n, value in expected.items() if n in backbone}
    assert len({scale for scale, _ in backbone.values()}) > 2
    head = {n: result[id(p)] for n, p in classifier.head.named_parameters()}
    assert head == {"0.weight": (1.0, 0.05), "0.bias": (1.0, 0.0)}


def test_norms_and_biases_go_without_weight_decay_as_timm_has_it() -> None:
    model = ModelSettings(weights="none", mode="finetune")
    classifier = build_classifier("test_vit", HeadSettings(), model, 3, 160, RANDOM, 0)
    groups = parameter_groups(classifier, recipe(weight_decay=0.05, decay_norms_and_biases=False))
    free = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    names = {name for name, parameter in classifier.named_parameters() if id(parameter) in free}
    whole = timm.create_model("test_vit", num_classes=3)
    expected = param_groups_weight_decay(whole, 0.05, no_weight_decay_list=whole.no_weight_decay())
    known = {id(parameter): name for name, parameter in whole.named_parameters()}
    (theirs,) = [g["params"] for g in expected if g["weight_decay"] == 0]
    bodies = {f"backbone.{name}" for p in theirs if not (name := known[id(p)]).startswith("head.")}
    assert names == bodies | {"head.0.bias"}
    assert "backbone.pos_embed" in names


def test_a_rate_is_shared_out_by_layers() -> None:
    optimizer = make_optimizer(build(mode="finetune"), recipe(layer_decay=0.5))
    set_learning_rate(optimizer, 0.2)
    rates = {group["lr_scale"]: group["lr"] for group in optimizer.param_groups}
    assert len(rates) > 2
    assert rates == {scale: pytest.approx(0.2 * scale) for scale in rates}


@pytest.mark.parametrize(
    "name", ["sgd", "adamw", "lamb", "adafactorbv", "radamlegacy", "novograd", "muon", "laprop"]
)
def test_an_optimisers_state_goes_through_a_file_bit_for_bit(name: str) -> None:
    """Numbers, unusual dtypes and group state: the next steps are identical."""

    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3)
        ).to(memory_format=torch.channels_last)

    def steps(module: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(3):
            images = torch.randn(4, 3, 4, 4, generator=generator)
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(images), torch.tensor([0, 1, 2, 0])).backward()
            optimizer.step()

    settings = recipe(optimizer=name, learning_rate=0.01, weight_decay=0.01)
    module, again = network(), network()
    optimizer, other = make_optimizer(module, settings), make_optimizer(again, settings)
    steps(module, optimizer, 1)
    file = io.BytesIO()
    torch.save({"state": optimizer_state(optimizer), "module": module.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again.load_state_dict(saved["module"])
    load_optimizer_state(other, saved["state"])
    steps(module, optimizer, 2)
    steps(again, other, 2)
    for one, two in zip(module.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_options_reach_the_optimiser() -> None:
    options = {"betas": [0.8, 0.95], "eps": 1e-6}
    module = nn.Linear(2, 2)
    optimizer = make_optimizer(module, recipe(optimizer="adamw", optimizer_options=options))
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.95)
    assert optimizer.param_groups[0]["eps"] == 1e-6
    assert type(optimizer) is torch.optim.AdamW
    nesterov = recipe(optimizer_options={"nesterov": True})
    assert make_optimizer(module, nesterov).param_groups[0]["nesterov"] is True


def test_what_may_be_named_is_what_can_be_used_anywhere() -> None:
    names = optimizer_names()
    assert {"sgd", "adamw", "lamb", "lion", "muon"} <= set(names)
    assert not [name for name in names if name.startswith(("fused", "bnb", "kron", "adahess"))]
    assert option_names("sgd") == ["dampening", "nesterov"]
    assert {"betas", "eps"} <= set(option_names("adamw"))
