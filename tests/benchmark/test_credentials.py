"""Passwords of tracking stores: found where they may stand, and shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.config.credentials import (
    environment_of_runs,
    has_password,
    take_credentials,
    without_password,
)
from benchmark.config.study import load_study
from benchmark.errors import TrackingError
from clothclf.errors import SettingsError

SECRET = "Tr1cky/pass@word"  # noqa: S105 - nobody's


@pytest.fixture(autouse=True)
def _no_other_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USERNAME", "PASSWORD", "PASSWORD_FILE", "TOKEN", "URI"):
        # Set before it is deleted, so that what a test sets in the process is taken back, too.
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}")


def test_the_password_of_a_servers_uri_goes_to_where_mlflow_reads_it() -> None:
    import os

    uri = take_credentials("https://an%40na:Tr1cky%2Fpass%40word@store.example:8443/mlflow")
    assert uri == "https://store.example:8443/mlflow"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "an@na"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == SECRET


def test_a_password_may_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    (tmp_path / "password").write_text(f"{SECRET}\n")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD_FILE", str(tmp_path / "password"))
    take_credentials("https://store.example")
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == SECRET


@pytest.mark.parametrize("content", [None, "", "one\ntwo\n", "x" * 20_000, b"\xff\xfe"])
def test_a_file_without_a_password_is_named(
    content: str | bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it holds is not shown."""
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD_FILE", str(path))
    with pytest.raises(TrackingError, match=f"MLFLOW_TRACKING_PASSWORD_FILE: {path}") as caught:
        take_credentials("https://store.example")
    assert "two" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "http://anna:Tr1cky@store",
        "https://anna:Tr1cky%2F@store:8443/mlflow",
        "postgresql://anna:Tr1cky/pass@word@database/mlflow",
        "postgresql+psycopg2://anna:Tr1cky@database/mlflow",
        "postgresql://database/mlflow?user=anna&password=Tr1cky",
        "http://[anna:Tr1cky@store",
    ],
)
def test_no_config_may_hold_a_password(uri: str, tmp_path: Path) -> None:
    """Neither the file nor --set; the refusal says where it may stand, and does not repeat it."""
    (tmp_path / "s.yaml").write_text(
        f"architectures: [resnet18]\nstudy: s\ntracking: {{uri: '{uri}'}}"
    )
    for config, assigned in ((tmp_path / "s.yaml", []), (Path("demo"), [f"tracking.uri='{uri}'"])):
        with pytest.raises(SettingsError, match="leave the password out") as caught:
            load_study(config, assigned)
        assert "MLFLOW_TRACKING_PASSWORD" in str(caught.value)
        assert "Tr1cky" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:5000",
        "https://anna@store",
        "sqlite:////home/anna:b@c/mlflow.db",
        "postgresql+psycopg2://mlflow@database:5432/mlflow",
    ],
)
def test_a_uri_without_a_password_is_taken_as_it_is(uri: str) -> None:
    assert not has_password(uri)
    assert load_study(Path("demo"), [f"tracking.uri={uri}"]).tracking.uri == uri


def test_what_others_say_is_shown_without_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are, as URIs spell them, and within URIs that are not known to be secret."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    told = f"cannot log in with {SECRET} (Tr1cky%2Fpass%40word) to postgresql://u:other/one@h/db"
    shown = without_password(told)
    assert shown == "cannot log in with *** (***) to postgresql://***@h/db"
    assert without_password("sqlite:////home/a@b/m.db") == "sqlite:////home/a@b/m.db"


def test_processes_of_runs_are_not_told_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """They run the user's code and print to logs that become artifacts."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql://u:{SECRET}@h/db")
    assert not [value for value in environment_of_runs().values() if SECRET in value]
