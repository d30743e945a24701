"""Passwords of tracking stores: found where they may stand, and shown nowhere."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from benchmark.commands.report import _command, report
from benchmark.config.credentials import (
    environment_of_runs,
    has_password,
    shown_uri,
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
        "postgresql://anna:Tr1'cky@database/mlflow",
        'postgresql://anna:Tr1"cky@database/mlflow',
        "postgresql://anna:Tr1cky pass@database/mlflow",
        "https://store/?token=Tr1cky",
        "mysql://database/mlflow?user=anna&pwd=Tr1cky",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BODBC%7D%3BUID%3Danna%3BPWD%3DTr1cky",
        "DRIVER={ODBC};SERVER=database;UID=anna;PWD={Tr1cky;x}",
        "host=database user=anna password=Tr1cky",
        "oracle+cx_oracle://anna:Tr1cky@database:1521/?service_name=mlflow",
        "DefaultEndpointsProtocol=https;AccountName=anna;AccountKey=Tr1cky",
    ],
)
def test_no_config_may_hold_a_password(uri: str, tmp_path: Path) -> None:
    """Neither the file nor --set; the refusal says where it may stand, and does not repeat it."""
    (tmp_path / "s.yaml").write_text(
        f"architectures: [resnet18]\nstudy: s\ntracking: {{uri: {json.dumps(uri)}}}"
    )
    assignment = f"tracking.uri={json.dumps(uri)}"
    for config, assigned in ((tmp_path / "s.yaml", []), (Path("demo"), [assignment])):
        with pytest.raises(SettingsError, match="remove the password") as caught:
            load_study(config, assigned)
        assert "MLFLOW_TRACKING_PASSWORD" in str(caught.value)
        assert "Tr1cky" not in str(caught.value)
        assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:5000",
        "https://anna@store",
        "sqlite:////home/anna:b@c/mlflow.db",
        "postgresql+psycopg2://mlflow@database:5432/mlflow",
        "postgresql://database/mlflow?sslmode=require&passfile=/home/anna/.pgpass",
    ],
)
def test_a_uri_without_a_password_is_taken_as_it_is(uri: str) -> None:
    assert not has_password(uri)
    assert load_study(Path("demo"), [f"tracking.uri={uri}"]).tracking.uri == uri


def test_what_others_say_is_shown_without_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are, as URIs spell them, and within URIs that are not known to be secret."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    result = f"cannot log in with {SECRET} (Tr1cky%2Fpass%40word) to postgresql://u:other/one@h/db"
    shown = without_password(result)
    assert shown == "cannot log in with *** (***) to postgresql://***@h/db"
    assert without_password("sqlite:////home/a@b/m.db") == "sqlite:////home/a@b/m.db"


PARTS = ("user:S3CR=ET", "S3CR'ET", 'u:S3CR"ET', "u:S3/CR@E?T#", "u:S3CR;E&T", "%C3%A4:S3CR%27ET")
QUERIES = ("", "?token=S3CRET", "?a=b&pwd=S3CRET", "?x=S3CRET;y=S3CRET", "#S3CRET", "?S3CRET")


@pytest.mark.parametrize("scheme", ["http", "https", "postgresql+psycopg2", "mssql+pyodbc", "s3"])
def test_of_a_uri_only_scheme_host_port_and_path_are_shown(scheme: str) -> None:
    """Whatever stands in front of the host or behind the path, alone and within a text."""
    for part in (None, *PARTS):
        for query in QUERIES:
            user, hidden = ("", "") if part is None else (f"{part}@", "***@")
            end = "?***" if query else ""
            uri = f"{scheme}://{user}store.example:80/ml/flow{query}"
            shown = f"{scheme}://{hidden}store.example:80/ml/flow{end}"
            assert shown_uri(uri) == shown
            result = without_password(f"(it is '{uri}', I say)")
            assert result == f"(it is '{shown}', I say)"


def test_a_password_with_blanks_is_known_by_the_uri_that_holds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a text, the end of such a URI is ambiguous."""
    uri = "postgresql://anna:S3 C'RET x@database/mlflow"
    assert shown_uri(uri) == "postgresql://***@database/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert without_password(f"cannot parse '{uri}'") == (
        "cannot parse 'postgresql://***@database/mlflow'"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("DRIVER={x};UID=u;PWD={S3;C}}RET};A=b", "DRIVER={x};UID=u;PWD=***;A=b"),
        ("Server=h; Password = S3CRET; Port=1", "Server=h; Password = ***; Port=1"),
        ("host=h password='S3 CRET' port=1", "host=h password=*** port=1"),
        ("url: /api/2.0/x?access_token=S3CRET&b=c", "url: /api/2.0/x?access_token=***&b=c"),
    ],
)
def test_secret_keys_of_connection_strings_are_shown_without_values(text: str, shown: str) -> None:
    assert without_password(text) == shown


def test_processes_of_runs_are_not_reported_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """They run the user's code and print to logs that become artifacts."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql://u:{SECRET}@h/db")
    assert not [value for value in environment_of_runs().values() if SECRET in value]


@pytest.mark.parametrize(
    "text",
    ["x" * 900_000, "pass" * 225_000, "http://x" + ")" * 900_000, "http://" * 128_000],
    ids=["word", "keys", "brackets", "addresses"],
)
def test_a_huge_value_is_redacted_in_linear_time(text: str) -> None:
    """Values of configs are shown in messages, and a pattern may take quadratic time."""
    started = time.process_time()
    assert len(shown_uri(text)) < 10_000
    has_password(text)
    assert time.process_time() - started < 3


def test_the_command_in_a_page_has_no_password() -> None:
    """It stands in a file that is made to be sent."""
    assignments = ("tracking.uri=postgresql://bench:hunter2@db/runs", "data.path=my images.zip")
    options = ["-c", "x.yaml", "--recipe", "finetune-fast"]
    context = report.make_context("report", options)
    command = _command(context, Path("x.yaml"), assignments, (), True)
    assert "hunter2" not in command
    assert command.startswith("bench report -c x.yaml --recipe finetune-fast --set ")
    assert command.endswith("--set 'data.path=my images.zip' --from-select")
