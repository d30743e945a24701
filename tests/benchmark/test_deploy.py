"""deploy/compose.yaml: what it names is there, and secrets stand in files alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
TOLD = (DEPLOY / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TOLD)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EACH_SERVICE = pytest.mark.parametrize("name", sorted(SERVICES))


@EACH_SERVICE
def test_what_a_service_refers_to_exists(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or (DEPLOY / source).is_file(), volume


@EACH_SERVICE
def test_a_service_has_a_version_and_says_when_it_is_well(name: str) -> None:
    service = SERVICES[name]
    _, colon, version = service["image"].partition(":")
    assert colon
    assert version[0].isdigit()
    assert name == "bucket" or "healthcheck" in service  # that one ends


@EACH_SERVICE
def test_who_waits_for_health_waits_for_a_service_that_tells_it(name: str) -> None:
    for other, result in SERVICES[name].get("depends_on", {}).items():
        assert (result["condition"] == "service_healthy") == ("healthcheck" in SERVICES[other])


def test_every_volume_secret_and_network_is_used() -> None:
    used = {
        kind: {
            item.split(":")[0] for service in SERVICES.values() for item in service.get(kind, [])
        }
        for kind in ("volumes", "secrets", "networks")
    }
    for kind, names in used.items():
        assert set(COMPOSE[kind]) <= names


def test_only_the_proxy_is_reachable_from_outside() -> None:
    outside = [name for name, service in SERVICES.items() if "ports" in service]
    assert outside == ["tls"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert [name for name, result in SERVICES.items() if "outside" in result["networks"]] == ["tls"]


def test_no_secret_stands_in_an_environment_or_a_command() -> None:
    """A name that ends in _FILE leads to a file; `docker inspect` shows all the rest."""
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            secret = any(word in name for word in ("PASSWORD", "SECRET", "TOKEN"))
            assert not secret or (name.endswith("_FILE") and value.startswith("/run/secrets/"))
        assert "//mlflow:" not in str(service.get("command"))


def test_secrets_are_drawn_once(tmp_path: Path) -> None:
    """As many as compose names, of 40 letters and digits, for the owner alone."""
    script = tmp_path / "make-secrets.sh"
    script.write_bytes((DEPLOY / "make-secrets.sh").read_bytes())
    drawn = []
    for _ in range(2):
        subprocess.run(["sh", str(script)], check=True, capture_output=True)
        drawn.append({p.name: p.read_text() for p in (tmp_path / "secrets").iterdir()})
    assert drawn[0] == drawn[1]
    assert {result["file"] for result in COMPOSE["secrets"].values()} == {
        f"secrets/{name}" for name in drawn[0]
    }
    assert all(len(secret) == 40 and secret.isalnum() for secret in drawn[0].values())
    assert len(set(drawn[0].values())) == len(drawn[0])
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_secrets_reach_a_command_by_its_environment(tmp_path: Path) -> None:
    """Those that its service was given, and no others."""
    (tmp_path / "database_password").write_text("geheim\n")
    done = subprocess.run(
        ["sh", str(DEPLOY / "with-secrets.sh"), "env"],
        env={"PATH": os.environ["PATH"], "SECRETS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    result = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert result["PGPASSWORD"] == "geheim"
    assert "AWS_SECRET_ACCESS_KEY" not in result
