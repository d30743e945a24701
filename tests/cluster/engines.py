"""Real engines on loopback: PostgreSQL, an S3-compatible store, MLflow's server, TLS before it.

They are started as deploy/compose.yaml starts them, with its own command line, and ended by number.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.benchmark.conftest import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
ADMIN = "admin"
PASSWORD = "correct-Horse+battery/staple@1"  # noqa: S105 - of a server on loopback
"""It needs quoting in a URI, and is long enough for MLflow."""
OBJECTS_KEY = "objects-secret-key-of-the-test"
BUCKET = "mlflow"
REGION = "us-east-1"
TIMEOUT_S = 400.0
"""For a server to answer on a machine that is busy with other tests."""


def postgres_programs() -> Path | None:
    """The folder of initdb and postgres, None where PostgreSQL is not installed."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    result = shutil.which("initdb")
    return Path(result).parent if result else None


def require_postgres() -> Path:
    """Its programs; skips the test where there are none, or where they cannot be used."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL refuses to run as root, and there is no setpriv to change the user")
    return programs


class Server:
    """A process that is started, killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        """`folder` takes what it prints."""
        self.log = folder / f"{type(self).__name__}.log"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self, command: Sequence[str], **options: Any) -> None:
        """Start it as the leader of a group of its own."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **options,
            )

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it and what it started; nothing happens where it does not run."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            self.process.wait(60)
            self.process = None

    def pause(self, held: bool = True) -> None:
        """Pause it, so that it accepts connections without responding; or resume it."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP if held else signal.SIGCONT)

    def wait_until(self, answers: Any) -> None:
        """Until `answers()` is true; fails with the end of its log."""
        end = time.monotonic() + TIMEOUT_S
        while not answers():
            alive = self.process is not None and self.process.poll() is None
            result = self.log.read_text(errors="replace")[-3000:]
            assert alive, result
            assert time.monotonic() < end, result
            time.sleep(0.1)

    def answers_http(self, path: str) -> bool:
        """Whether it answers at all, be it with a refusal."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False


class Postgres(Server):
    """PostgreSQL with a database `mlflow`, as a user who is not root."""

    def __init__(self, folder: Path) -> None:
        """Make the cluster of databases."""
        super().__init__(folder)
        self.programs = require_postgres()
        # Not below pytest's own folder, which other users cannot enter.
        self.folder = Path(tempfile.mkdtemp(prefix="bench-postgres-"))
        self.as_user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        password = self.folder / "password"
        password.write_text(PASSWORD)
        command = [str(self.programs / "initdb"), "--username=mlflow", "--auth=scram-sha-256"]
        command += [f"--pwfile={password}", "--no-sync", "--encoding=UTF8", "--locale=C"]
        self._run([*command, str(self.folder / "data")])
        password.unlink()

    def _run(self, command: Sequence[str]) -> None:
        done = subprocess.run(
            [*self.as_user, *command], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it, and wait until it takes connections; recovery from a kill is awaited, too."""
        options = ["-c", "listen_addresses=127.0.0.1"]
        options += ["-c", f"unix_socket_directories={self.folder}"]
        data = str(self.folder / "data")
        command = [*self.as_user, str(self.programs / "postgres"), "-D", data, "-p", str(self.port)]
        self.launch([*command, *options], cwd=self.folder)
        ready = [str(self.programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
        self.wait_until(lambda: subprocess.run(ready, capture_output=True).returncode == 0)

    def make_database(self) -> None:
        """The one that MLflow's server fills."""
        self.query("CREATE DATABASE mlflow", database="postgres")

    def query(self, query: str, database: str = "mlflow") -> list[tuple[Any, ...]]:
        """Rows that a query gives."""
        import psycopg2

        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user="mlflow", password=PASSWORD, dbname=database
        )
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall()) if cursor.description else []

    def remove(self) -> None:
        """Kill it and delete its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Objects(Server):
    """moto's S3, in memory: what it keeps is gone when it ends."""

    def start(self) -> None:
        """Start it and make the bucket, as compose's service `bucket` does."""
        self.launch([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)])
        self.wait_until(lambda: self.answers_http("/moto-api/"))
        script = [sys.executable, str(DEPLOY / "make_bucket.py"), BUCKET]
        done = subprocess.run(
            script, env={**os.environ, **self.environment()}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def environment(self) -> dict[str, str]:
        """For a client."""
        return {
            "AWS_ACCESS_KEY_ID": "mlflow",
            "AWS_SECRET_ACCESS_KEY": OBJECTS_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
        }

    def _client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name=REGION,
            aws_access_key_id="mlflow",
            aws_secret_access_key=OBJECTS_KEY,
        )

    def names(self) -> list[str]:
        """Of all that the bucket holds."""
        pages = self._client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def read(self, name: str) -> bytes:
        """What an object holds."""
        return bytes(self._client().get_object(Bucket=BUCKET, Key=name)["Body"].read())


class Tracking(Server):
    """MLflow's server by the command line and the scripts of deploy/, with loopback's addresses."""

    def __init__(
        self, folder: Path, database: Postgres, objects: Objects, objects_in: Path | None = None
    ) -> None:
        """`folder` takes its secrets and its log; see SharedStore for `objects_in`."""
        super().__init__(folder)
        self.destination = f"s3://{BUCKET}" if objects_in is None else str(objects_in)
        self.database, self.objects = database, objects
        self.uri = f"http://127.0.0.1:{self.port}"
        self.tls_port = free_port()
        self.host = f"localhost:{self.tls_port}"
        """Under which a proxy that ends TLS is reached."""
        self.folder = folder
        secrets = {
            "database_password": PASSWORD,
            "objects_secret_key": OBJECTS_KEY,
            "admin_password": PASSWORD,
            "flask_secret_key": "flask-secret-key-of-the-test",
        }
        (folder / "secrets").mkdir()
        for name, secret in secrets.items():
            (folder / "secrets" / name).write_text(secret)
        config = (DEPLOY / "basic_auth.ini").read_text()
        (folder / "basic_auth.ini").write_text(self._here(config))

    def command(self) -> list[str]:
        """That of compose, but for addresses and the number of its processes."""
        service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["mlflow"]
        result = [self._here(part) for part in service["command"]]
        return [sys.executable, "-m", *result]

    def _here(self, text: str) -> str:
        changes = {
            "database:5432": f"127.0.0.1:{self.database.port}",
            "--host=0.0.0.0": "--host=127.0.0.1",
            "--port=5000": f"--port={self.port}",
            "127.0.0.1:5000": f"127.0.0.1:{self.port}",
            "--workers=4": "--workers=1",
            "${STORE_HOST}": self.host,
            f"s3://{BUCKET}": self.destination,
        }
        for result, meant in changes.items():
            text = text.replace(result, meant)
        return re.sub(r"\$\{STORE_HOST:[^}]*\}", self.host, text)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["mlflow"]
        result = {name: str(value) for name, value in service["environment"].items()}
        own = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        own |= {"SECRETS": str(self.folder / "secrets"), "PYTHONWARNINGS": "ignore"}
        environment = {**own, **result, **self.objects.environment()}
        environment.pop("AWS_SECRET_ACCESS_KEY")
        environment["MLFLOW_AUTH_CONFIG_PATH"] = str(self.folder / "basic_auth.ini")
        entry = ["sh", str(DEPLOY / "with-secrets.sh")]
        self.launch([*entry, *self.command()], cwd=self.folder, env=environment)
        self.wait_until(lambda: self.answers_http("/health"))


class Tls(Server):
    """Caddy by deploy/Caddyfile; it signs with an authority of its own, as by default there."""

    def __init__(self, folder: Path, tracking: Tracking) -> None:
        """`folder` takes its authority and its log; skips the test where there is no Caddy."""
        if shutil.which("caddy") is None:
            pytest.skip("Caddy is not installed (Debian's package caddy)")
        super().__init__(folder)
        self.folder, self.tracking = folder, tracking
        self.uri = f"https://{tracking.host}"
        self.port = tracking.tls_port
        self.authority = folder / "caddy/pki/authorities/local/root.crt"

    def start(self) -> None:
        """Start it, and wait until it has made its authority and takes connections."""
        # On loopback, beside others: no port for its own administration, none to redirect from.
        options = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n"
        config = self.folder / "Caddyfile"
        site = (DEPLOY / "Caddyfile").read_text()
        config.write_text(options + site.replace("mlflow:5000", f"127.0.0.1:{self.tracking.port}"))
        result = {"STORE_HOST": self.tracking.host, "STORE_TLS": "internal"}
        own = {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)}
        command = ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
        self.launch(command, cwd=self.folder, env={**os.environ, **result, **own})
        self.wait_until(self._is_ready)

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("localhost", self.port), 1):
            return self.authority.exists()
        return False


class SharedStore:
    """The three that keep things; `Tls` may stand before them."""

    def __init__(self, folder: Path, objects_in: Path | None = None) -> None:
        """Start all; artifacts go to a folder where one is given, and not into memory."""
        self.database = Postgres(folder)
        self.objects = Objects(folder)
        self.tracking = Tracking(folder, self.database, self.objects, objects_in)
        try:
            self.database.start()
            self.database.make_database()
            self.objects.start()
            self.tracking.start()
        except BaseException:
            self.stop()
            raise

    @property
    def uri(self) -> str:
        """Of the tracking server, without a password."""
        return self.tracking.uri

    def environment(self, password: str = PASSWORD) -> dict[str, str]:
        """Configuration of a driver, only by its environment."""
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": ADMIN,
            "MLFLOW_TRACKING_PASSWORD": password,
        }

    def stop(self) -> None:
        """End all, and delete what they kept."""
        self.tracking.kill()
        self.objects.kill()
        self.database.remove()
