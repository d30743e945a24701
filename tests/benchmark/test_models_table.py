"""`bench models`: names, costs, tags and weights at hand, in every format."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from benchmark.workflows.models_table import Query, as_csv, as_json, cells, list_models
from clothclf.errors import UserError
from tests.benchmark.conftest import Bench


def test_figures_are_timms_own_network_at_its_own_size(tmp_path: Path) -> None:
    """The published ResNet-18: 11.7 million parameters, 1.8 GMACs."""
    (result,) = list_models(["resnet18"], Query(), tmp_path)
    assert (result.image_size, result.params, result.macs) == (224, 11_689_512, 1_814_073_344)
    assert result.tags[0] == "a1_in1k"


def test_a_size_changes_macs_and_no_parameters(tmp_path: Path) -> None:
    (small,) = list_models(["resnet18"], Query(image_size=112), tmp_path)
    assert small.params == 11_689_512
    assert (small.macs or 0) < 1_814_073_344 / 3


def test_weights_in_a_folder_are_at_hand(tmp_path: Path) -> None:
    (tmp_path / "test_resnet.safetensors").touch()
    result = list_models(["test_resnet", "test_vit"], Query(weights=tmp_path), tmp_path / "cache")
    assert [item.at_hand for item in result] == [("test_resnet.safetensors",), ()]
    with pytest.raises(UserError, match="no such folder"):
        list_models(["test_resnet"], Query(weights=tmp_path / "no"), tmp_path)


def test_limits_and_order(tmp_path: Path) -> None:
    names = ["test_vit", "test_resnet", "test_efficientnet"]
    by_macs = list_models(names, Query(sort="macs"), tmp_path)
    assert [item.macs for item in by_macs] == sorted(item.macs or 0 for item in by_macs)
    least = min(item.params or 0 for item in by_macs) / 1e6
    saved = list_models(names, Query(max_params=least), tmp_path)
    assert [item.params for item in saved] == [round(least * 1e6)]
    with pytest.raises(UserError, match=r"exclude all 3 .* the smallest, "):
        list_models(names, Query(max_params=least / 2), tmp_path)


def test_formats_hold_the_same_figures(tmp_path: Path) -> None:
    actual = list_models(["test_resnet", "resnet18.*"], Query(image_size=64), tmp_path)
    rows = list(csv.DictReader(as_csv(actual).splitlines()))
    result = json.loads(as_json(actual))
    assert [int(row["macs"]) for row in rows] == [item["macs"] for item in result]
    assert [row["tags"].split() for row in rows] == [item["tags"] for item in result]
    assert cells(actual[-1])[0] == rows[-1]["architecture"]


def test_the_command_lists_and_refuses_in_words(bench: Bench) -> None:
    listed = bench("models", "test_resnet", "--format", "csv", "--image-size", "32")
    assert listed.code == 0
    assert listed.out.splitlines()[1].startswith("test_resnet,32,")
    refused = bench("models", "test_resnet", "--max-params", "many")
    assert refused.code == 2
    assert "is not a number above 0, such as 10 or 10M" in refused.err


def test_the_deployed_form_is_listed_and_what_training_takes_is_reported(bench: Bench) -> None:
    done = bench("models", "mobileone_s0", "test_resnet", "--max-gmacs", "0.3")
    assert done.code == 0, done.err
    assert "0.275 (d)" in done.out
    assert "mobileone_s0 1.052 G MACs and 5.29 M parameters." in " ".join(done.out.split())


def test_the_listed_size_is_the_counted_one(tmp_path: Path) -> None:
    pytest.importorskip("timm", "1.0.30")
    (tall,) = list_models(["vit_base_patch16_sapiens2"], Query(), tmp_path)
    assert cells(tall)[1] == "1024x768"
