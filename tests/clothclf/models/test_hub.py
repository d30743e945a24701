"""Model hub: probed once, with a timeout of 5 seconds, and optional for `auto`.

Downloads use the hub's own client, which reads its environment on import. They run in a child
process against a local server that implements the hub's protocol.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save

from clothclf.errors import WeightsError
from clothclf.models.weights import WeightsResolver
from clothclf.results import Weights
from tests.stand_in import Hub

NAMES = ("test_resnet", "test_efficientnet")
Use = Callable[[str], None]

DOWNLOAD = """
import json, sys
from dataclasses import asdict
from clothclf.models.load_weights import load_backbone
from clothclf.models.weights import WeightsResolver
resolver, answers = WeightsResolver("auto"), []
for name in sys.argv[1:]:
    weights = resolver.resolve(name)
    first = next(load_backbone(name, 64, weights).parameters()) if weights.path else None
    answers.append([asdict(weights), first is not None and first.flatten()[:3].tolist()])
print(json.dumps(answers, default=str))
"""


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Use the hub at an address, with an empty cache and no proxy."""
    for name in list(os.environ):
        if "proxy" in name.lower():
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return lambda address: monkeypatch.setenv("HF_ENDPOINT", address)


def resolve(*names: str) -> tuple[float, list[Weights]]:
    """Resolve `auto` weights; return the elapsed seconds and the results."""
    resolver = WeightsResolver("auto")
    started = time.perf_counter()
    answers = [resolver.resolve(name) for name in names]
    return time.perf_counter() - started, answers


@pytest.fixture
def closed() -> str:
    """Address on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def silent() -> Iterator[str]:
    """Address that accepts connections but never responds."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class WeightsHub(Hub):
    """Fake hub with the weights of some architectures."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.first_values: dict[str, list[float]] = {}
        for name in names:
            torch.manual_seed(7)
            model = timm.create_model(name)
            first = next(model.parameters())
            first.data += 0.25
            self.first_values[name] = first.flatten()[:3].tolist()
            content = save(model.state_dict())
            repository = timm.get_pretrained_cfg(name).hf_hub_id
            self.files[f"/{repository}/resolve/main/model.safetensors"] = content


def test_auto_goes_on_with_random_weights_and_says_why(use: Use, closed: str) -> None:
    use(closed)
    seconds, answers = resolve(*NAMES)
    assert seconds < 5
    for weights in answers:
        assert (weights.origin, weights.sha256, weights.path) == ("random", "", None)
        assert f"the model hub {closed} cannot be reached" in weights.note


def test_pretrained_is_refused_with_the_remedy(use: Use, closed: str) -> None:
    use(closed)
    with pytest.raises(WeightsError) as caught:
        WeightsResolver("pretrained").resolve(NAMES[0])
    message = str(caught.value)
    assert message.startswith("model.weights: pretrained: the model hub")
    assert "choose random weights (--set model.weights=none)" in message
    assert "\n" not in message


def test_a_silent_hub_is_given_five_seconds_in_all(use: Use, silent: str) -> None:
    """The timeout applies once, not per architecture."""
    use(silent)
    seconds, answers = resolve(*NAMES)
    assert 4.5 < seconds < 6
    assert {weights.origin for weights in answers} == {"random"}
    assert "did not respond within 5 seconds" in answers[0].note or "timed out" in answers[0].note


def test_what_is_no_web_server_is_told_at_once(use: Use) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail server\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        use(f"http://127.0.0.1:{listener.getsockname()[1]}")
        seconds, (weights,) = resolve(NAMES[0])
    assert seconds < 4
    assert "cannot be reached" in weights.note


@pytest.mark.parametrize("address", ["file:///etc", "nonsense"])
def test_only_web_addresses_are_asked(use: Use, address: str) -> None:
    use(address)
    _, (weights,) = resolve(NAMES[0])
    assert weights.origin == "random"
    assert "is not an http or https URL" in weights.note


def test_the_hub_can_be_switched_off(
    use: Use, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(silent)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    seconds, (weights,) = resolve(NAMES[0])
    assert seconds < 4
    assert "disabled by HF_HUB_OFFLINE" in weights.note


def test_an_architecture_without_weights_is_told_without_asking(use: Use, silent: str) -> None:
    use(silent)
    name = next(name for name in timm.list_models() if not timm.get_pretrained_cfg(name).hf_hub_id)
    seconds, (weights,) = resolve(name)
    assert seconds < 4
    assert weights.note == f"timm has no pretrained weights for {name}"


def test_the_hubs_weights_are_loaded_and_kept(use: Use, tmp_path: Path, closed: str) -> None:
    """Downloaded once, with a note about missing weights; then read from the cache."""
    hub = WeightsHub(NAMES)
    with hub.running() as address:
        own = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
        own |= {"HF_HOME": str(tmp_path), "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", DOWNLOAD, "test_convnext", *NAMES]
        done = subprocess.run(
            command, env=own, capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (lacking, loaded), *answers = json.loads(done.stdout.splitlines()[-1])
    assert (lacking["origin"], loaded) == ("random", False)
    assert "timm/test_convnext" in lacking["note"]
    assert "cannot be downloaded" in lacking["note"]
    for name, (weights, values) in zip(NAMES, answers, strict=True):
        content = hub.files[f"/{weights['name']}/resolve/main/model.safetensors"]
        assert (weights["origin"], weights["note"]) == ("pretrained", "")
        assert weights["sha256"] == hashlib.sha256(content).hexdigest()
        assert values == hub.first_values[name]
    assert hub.asked.count(("HEAD", "/")) == 1
    assert sorted(path for method, path in hub.asked if method == "GET" and path in hub.files) == (
        sorted(hub.files)
    )
    use(closed)
    _, kept = resolve(*NAMES)
    assert [each.sha256 for each in kept] == [weights["sha256"] for weights, _ in answers]
    assert {each.origin for each in kept} == {"pretrained"}
