"""Count real architectures: published figures, errors, and no side effects."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from clothclf.cost import count as count_module
from clothclf.cost import counting as counting_module
from clothclf.cost.count import CostRequest, cost_from_dict, cost_to_dict, count_cost
from clothclf.cost.counters.fvcore_counter import count_with_fvcore
from clothclf.cost.counters.torch_counter import count_with_torch
from clothclf.cost.detail import module_tree
from clothclf.cost.network import build_on_cpu, build_on_meta, resolve
from clothclf.cost.quick import count_backbone
from clothclf.errors import CostError
from clothclf.models.build import build_classifier
from clothclf.models.weights import RANDOM
from clothclf.results import size_text
from clothclf.settings import HeadSettings, ModelSettings


def own(name: str, size: int = 0) -> CostRequest:
    return CostRequest(name, size, 0, HeadSettings(), own_classifier=True)


@pytest.mark.parametrize(
    ("name", "hidden", "giga", "million"),
    [
        ("vgg16", 256, 3.96, 135.3),
        ("efficientnet_b0", None, 0.106, 4.02),
        ("densenet121", 14, 0.706, 6.97),
    ],
)
def test_flopth_gives_the_published_figures(
    name: str, hidden: int | None, giga: float, million: float
) -> None:
    cost = count_cost(CostRequest(name, 112, 11, HeadSettings(hidden=hidden)))
    flopth = cost.counted_macs("flopth")
    assert flopth is not None
    assert flopth / 1e9 == pytest.approx(giga, rel=0.005)
    assert cost.params / 1e6 == pytest.approx(million, rel=0.001)
    assert cost.macs is not None
    assert cost.counted_macs("fvcore") == pytest.approx(cost.macs, rel=0.04)
    assert cost.trainable_params < cost.params / 50
    assert cost.verdict in ("agreed", "explained")


@pytest.mark.parametrize(
    ("name", "giga", "failure"),
    [
        ("vit_tiny_patch16_224", 1.254, "tokens in Linear"),
        ("swin_tiny_patch4_window7_224", 4.490, "tokens in Linear"),
        ("convnext_tiny", 4.455, "maps in Linear"),
        ("mixer_b16_224", 12.601, "tokens in Linear"),
        ("maxvit_tiny_tf_224", 5.551, "maps in Linear"),
    ],
)
def test_headlines_hold_where_flopth_fails_and_the_failure_is_named(
    name: str, giga: float, failure: str
) -> None:
    cost = count_cost(own(name, 224))
    assert cost.macs is not None
    assert cost.macs / 1e9 == pytest.approx(giga, rel=0.001)
    assert cost.flops == 2 * cost.macs
    assert cost.verdict == "explained"
    assert failure in cost.reason


@pytest.mark.slow
def test_a_counter_that_fails_leaves_the_headline_and_says_why() -> None:
    cost = count_cost(own("sequencer2d_s"))
    assert cost.macs is not None
    assert cost.macs > 8e9
    assert (cost.counted_macs("flopth"), cost.verdicts["flopth"]) == (None, "unchecked")
    assert "tuple" in cost.reason
    assert "LSTM" in cost.reason


def test_the_head_is_part_of_what_is_counted() -> None:
    plain = count_cost(CostRequest("test_resnet", 64, 11, HeadSettings()))
    hidden = count_cost(CostRequest("test_resnet", 64, 11, HeadSettings(hidden=32)))
    features = plain.trainable_params // 11 - 1
    assert plain.trainable_params == 11 * (features + 1)
    assert hidden.trainable_params == 32 * (features + 1) + 11 * 33
    assert plain.macs is not None
    assert hidden.macs is not None
    assert hidden.macs - plain.macs == 32 * features + 11 * 32 - 11 * features


def test_params_and_bytes_are_those_of_the_classifier_that_trains() -> None:
    head, settings = HeadSettings(hidden=7), ModelSettings(standardize_features=True)
    built = build_classifier("test_efficientnet", head, settings, 5, 64, RANDOM, seed=0)
    cost = count_cost(CostRequest("test_efficientnet", 64, 5, head, standardize=True))
    state = built.state_dict().values()
    assert cost.params == sum(p.numel() for p in built.parameters())
    assert cost.trainable_params == sum(p.numel() for p in built.head.parameters())
    assert cost.weight_bytes == sum(t.numel() * t.element_size() for t in state)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (own("vgg16", 8), "8 x 8"),
        (own("vit_tiny_patch16_224", 3), "vit_tiny_patch16_224"),
        (CostRequest("resnet_18", 64, 10, HeadSettings()), "resnet_18"),
        (CostRequest("vgg16", 8, 10, HeadSettings()), "8 x 8"),
    ],
)
def test_a_refusal_is_one_sentence_with_the_reason(request_: CostRequest, told: str) -> None:
    with pytest.raises(CostError, match=told) as caught:
        count_cost(request_)
    assert "\n" not in str(caught.value)
    assert "resnet18" in str(count_cost(own("resnet18", 64)).architecture)  # the others continue


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL.*memory"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import sys; sys.exit('the disk is full')", "exit code 1.*the disk is full"),
        ("import time; time.sleep(60)", "longer than 2 seconds"),
    ],
)
def test_a_child_that_dies_or_hangs_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, told: str
) -> None:
    (tmp_path / "broken_child.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(count_module, "CHILD", "broken_child")
    with pytest.raises(CostError, match=f"vgg16.*{told}"):
        count_cost(own("vgg16", 64), timeout_s=2)


def test_what_libraries_print_does_not_reach_the_answer() -> None:
    program = (
        "from clothclf.process.respond import serve_request\n"
        "import os\n"
        "def answer(question):\n"
        "    print('noise'); os.system('echo more noise'); return question\n"
        "serve_request(answer)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], input='{"a": 1}', capture_output=True, text=True
    )
    assert json.loads(result.stdout) == {"a": 1}
    assert "more noise" in result.stderr


def test_counting_leaves_the_loggers_of_this_process_as_they_are() -> None:
    count_backbone(own("test_resnet"))
    assert logging.root.manager.disable == logging.NOTSET


def test_asking_imports_no_torch() -> None:
    program = (
        "import sys, clothclf.cost.count, clothclf.cost.catalogue, clothclf.cost.detail, "
        "clothclf.cost.summary\n"
        "sys.exit(bool({'torch', 'timm', 'fvcore', 'flopth'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_a_cost_survives_json() -> None:
    cost = count_cost(own("test_vit"))
    assert cost_from_dict(cost_to_dict(cost)) == cost


def test_the_module_tree_adds_up() -> None:
    rows = module_tree(CostRequest("test_resnet", 64, 5, HeadSettings()))
    by_name = {row.name: row for row in rows}
    assert rows[0].name == ""
    assert rows[0].share == 1
    assert by_name["head"].output_shape == (1, 5)
    for depth, name in ((1, "backbone"), (2, "backbone.conv1")):
        assert by_name[name].depth == depth
    assert rows[0].macs == by_name["backbone"].macs + by_name["head"].macs
    children = [row for row in rows if row.depth == 2 and row.name.startswith("backbone.")]
    assert sum(row.macs for row in children) == by_name["backbone"].macs
    assert sum(row.params for row in children) == by_name["backbone"].params


class TestNothingIsLeftBehind:
    """torch's counter and fvcore leave the model unchanged; flopth runs in a child process."""

    @staticmethod
    def losses(count: bool) -> list[float]:
        torch.manual_seed(3)
        request = CostRequest("test_resnet", 32, 4, HeadSettings(hidden=8), frozen=False)
        model = build_classifier(
            "test_resnet", request.head, ModelSettings(mode="scratch"), 4, 32, RANDOM, seed=1
        )
        images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 4
        if count:
            model.eval()
            count_with_torch(model, images[:1])
            count_with_fvcore(model, images[:1])
            count_cost(request)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model.train()
        result = []
        for _ in range(4):
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            result.append(loss.item())
        return result

    def test_training_after_counting_is_bit_identical(self) -> None:
        assert self.losses(count=True) == self.losses(count=False)

    def test_the_model_is_as_it_was(self) -> None:
        model = build_classifier(
            "test_resnet", HeadSettings(), ModelSettings(), 4, 32, RANDOM, seed=1
        ).eval()
        image = torch.zeros(1, 3, 32, 32)
        before = (list(model.state_dict()), [m.training for m in model.modules()])
        classes = {type(m): type(m).__call__ for m in model.modules()}
        count_with_torch(model, image)
        count_with_fvcore(model, image)
        count_cost(CostRequest("test_resnet", 32, 4, HeadSettings()))
        assert (list(model.state_dict()), [m.training for m in model.modules()]) == before
        assert {type(m): type(m).__call__ for m in model.modules()} == classes
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert {p.device.type for p in model.parameters()} == {"cpu"}

    def test_no_hooks_stay_when_the_model_raises(self) -> None:
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 5))
        for count in (count_with_torch, count_with_fvcore):
            with pytest.raises(RuntimeError):
                count(model, torch.zeros(1, 4))
            assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_unset_weights_have_the_shapes_of_set_ones() -> None:
    request = resolve(own("test_vit"))
    shapes = [
        {name: tensor.shape for name, tensor in network.model.state_dict().items()}
        for network in (build_on_meta(request), build_on_cpu(request, 0))
    ]
    assert shapes[0] == shapes[1]


PRODUCTS_SKIPPED = """
import sys, torch
from clothclf.cost.count import CostRequest
from clothclf.cost.counters.fvcore_counter import count_with_fvcore
from clothclf.cost.fake_kernels import skip_products
from clothclf.cost.network import build_on_cpu, resolve
from clothclf.settings import HeadSettings
requests = [CostRequest(n, 0, 10, HeadSettings(), own_classifier=True) for n in sys.argv[1:]]
subjects = [build_on_cpu(resolve(request), 0) for request in requests]
real = [count_with_fvcore(subject.model, subject.image) for subject in subjects]
skip_products()
assert [count_with_fvcore(subject.model, subject.image) for subject in subjects] == real
"""


def test_fvcore_counts_the_same_when_products_are_not_computed() -> None:
    names = ["test_vit", "swin_tiny_patch4_window7_224", "maxvit_tiny_tf_224", "test_mambaout"]
    result = subprocess.run(
        [sys.executable, "-c", PRODUCTS_SKIPPED, *names], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_it_is_the_listed_size_that_is_counted() -> None:
    """timm builds this architecture with the configuration of its 256 px sibling."""
    result = count_backbone(own("vitamin_xlarge_336"))
    assert (result["height"], result["width"]) == (336, 336)
    assert result["macs"] / 1e9 == pytest.approx(229.86, abs=0.01)


@pytest.mark.parametrize(
    ("size", "counted", "told"), [(0, (1024, 768), "1024x768"), (768, (768, 768), "768")]
)
def test_images_that_are_no_squares_are_reported_as_such(
    size: int, counted: tuple[int, int], told: str
) -> None:
    pytest.importorskip("timm", "1.0.30")
    count = count_backbone(own("vit_base_patch16_sapiens2", size))
    assert (count["height"], count["width"]) == counted
    assert size_text(count["width"], count["height"]) == told


def test_a_count_on_another_image_is_refused() -> None:
    layer = nn.Conv2d(3, 4, 3)
    given = "counted on an image of 3 x 8 x 8, but it is listed at 3 x 16 x 16"
    with pytest.raises(CostError, match=given):
        counting_module._count(own("resnet18", 16), layer, torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("name", "deployed", "training"),
    [("mobileone_s0", 0.2751, 1.0519), ("ghostnetv3_130", 0.2693, 0.6548)],
)
def test_networks_are_counted_as_they_are_deployed(
    name: str, deployed: float, training: float
) -> None:
    cost = count_cost(own(name))
    assert cost.macs is not None
    assert cost.training_macs is not None
    assert cost.training_params is not None
    assert cost.macs / 1e9 == pytest.approx(deployed, abs=5e-4)
    assert cost.training_macs / 1e9 == pytest.approx(training, abs=5e-4)
    assert cost.params < cost.training_params
    # The counters are compared on the form that all three can count.
    assert cost.counted_macs("torch") == cost.training_macs
    assert cost.counted_macs("fvcore") == pytest.approx(cost.training_macs, rel=0.06)
    quick = count_backbone(own(name))
    assert (quick["macs"], quick["training_macs"]) == (cost.macs, cost.training_macs)
    assert (quick["params"], quick["training_params"]) == (cost.params, cost.training_params)


def test_a_network_with_one_form_has_no_second_figure() -> None:
    cost = count_cost(own("test_resnet"))
    assert (cost.training_macs, cost.training_params, cost.image_height) == (None, None, None)


def test_a_cost_of_before_is_still_read() -> None:
    cost = count_cost(own("test_resnet"))
    new = ("training_macs", "training_params", "image_height")
    values = {name: value for name, value in cost_to_dict(cost).items() if name not in new}
    assert cost_from_dict(values) == cost
