"""Downloads are complete or absent, resumable and verified, with a clear message on errors.

The real clients of Kaggle and the hub run against a server that implements their protocols.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

from clothclf.data.fetch.download_folder import RECORD, Fetched, fetched_before
from clothclf.data.fetch.fashion import fetch_fashion
from clothclf.data.fetch.hub import fetch_from_hub, fetch_to_cache
from clothclf.data.fetch.kaggle import fetch_from_kaggle
from clothclf.data.prepare import prepare
from clothclf.errors import DataError
from clothclf.settings import DataSettings, HubSettings
from clothclf.settings.data import HUB_DATASET, HUB_REVISION
from tests.clothclf.data import hub_files
from tests.conftest import KaggleBuilder
from tests.stand_in import COMMIT, Hub

NAME = "shop/fashion"
FIRST = "data/train-00000-of-00002-6cff4c59f91661c3.parquet"
SECOND = "data/train-00001-of-00002-bb459e5ac5f01e71.parquet"
SETTINGS = HubSettings(dataset=NAME, revision=COMMIT)

Use = Callable[[str], None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Use an address as the hub's, without a proxy."""
    for name in list(os.environ):
        if "proxy" in name.lower() or name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return lambda address: monkeypatch.setenv("HF_ENDPOINT", address)


@pytest.fixture(scope="module")
def fashion(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The two files of a data set in the layout of ashraq/fashion-product-images-small."""
    folder = tmp_path_factory.mktemp("fashion")
    hub_files.fashion(folder / FIRST, range(100, 130), ["Tops", "Shirts"] * 15)
    hub_files.fashion(folder / SECOND, range(200, 220), ["Tops", "Wallets"] * 10)
    return {name: (folder / name).read_bytes() for name in (FIRST, SECOND)}


def fault(settings: HubSettings, folder: Path) -> str:
    """Return the one-line message of a failed download; nothing has the final name then."""
    with pytest.raises(DataError) as caught:
        fetch_from_hub(settings, folder)
    assert "\n" not in str(caught.value)
    assert not folder.exists()
    return str(caught.value)


def holds(folder: Path, files: dict[str, bytes]) -> bool:
    """Whether a folder contains exactly these files and a record."""
    result = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    record = result.pop(RECORD, None)
    return record is not None and {n: p.read_bytes() for n, p in result.items()} == files


def test_files_are_fetched_and_read(use: Use, tmp_path: Path, fashion: dict[str, bytes]) -> None:
    hub, seen = Hub(), []
    hub.add_dataset(NAME, {"README.md": b"# Fashion", ".gitattributes": b"*", **fashion})
    with hub.running() as address:
        use(address)
        got = fetch_from_hub(SETTINGS, tmp_path / "fashion", lambda *told: seen.append(told))
    assert holds(tmp_path / "fashion", fashion)
    assert (got.source, got.files, got.origin) == ("hub", 2, f"{NAME}@00000000")
    assert seen == sorted(seen)
    assert seen[-1] == (got.size, got.size)
    assert [path.name for path in tmp_path.iterdir()] == ["fashion"]
    settings = DataSettings(source="hub", path=got.folder, image_size=8)
    assert prepare(settings, tmp_path / "cache").summary.images_per_class == {
        "Tops": 25, "Shirts": 15, "Wallets": 10,
    }  # fmt: skip


def test_files_may_be_handed_out_elsewhere(
    use: Use, tmp_path: Path, fashion: dict[str, bytes]
) -> None:
    """As on the hub, whose address redirects to a content server."""
    hub = Hub()
    hub.elsewhere = True
    hub.add_dataset(NAME, fashion)
    with hub.running() as address:
        use(address)
        fetch_from_hub(SETTINGS, tmp_path / "fashion")
    assert holds(tmp_path / "fashion", fashion)


def test_small_files_are_checked_by_gits_own_sum(use: Use, tmp_path: Path) -> None:
    small = hub_files.fashion(tmp_path / "small.parquet", [1], ["Tops"]).read_bytes()
    hub = Hub()
    hub.add_dataset(NAME, {"small.parquet": small})
    hub.add_dataset("shop/wrong", {"small.parquet": small}, wrong=True)
    with hub.running() as address:
        use(address)
        fetch_from_hub(SETTINGS, tmp_path / "right")
        assert "does not match the checksum" in fault(
            HubSettings(dataset="shop/wrong", revision=COMMIT), tmp_path / "wrong"
        )
    assert holds(tmp_path / "right", {"small.parquet": small})


PIECE = 10 * 2**20
"""Chunk size of the hub's client in bytes: an incomplete chunk is downloaded again."""


@pytest.fixture(scope="module")
def large() -> dict[str, bytes]:
    return {"large.parquet": os.urandom(PIECE + 2**20)}


def test_a_connection_that_is_cut_goes_on_from_there(
    use: Use, tmp_path: Path, large: dict[str, bytes]
) -> None:
    hub = Hub()
    hub.add_dataset(NAME, large)
    hub.is_sharded = [PIECE + 1000]
    with hub.running() as address:
        use(address)
        try:
            fetch_from_hub(SETTINGS, tmp_path / "fashion")
        except DataError as error:
            # Before version 2, huggingface_hub leaves it to the next command.
            resumes = Version(version("huggingface_hub")).major >= 2
            if resumes or "run the same command to resume" not in str(error):
                raise
            fetch_from_hub(SETTINGS, tmp_path / "fashion")
    assert hub.ranges == ["", f"bytes={PIECE}-"]
    assert holds(tmp_path / "fashion", large)


FETCH = """
import sys
from pathlib import Path
from clothclf.data.fetch.hub import fetch_from_hub
from clothclf.settings import HubSettings
fetch_from_hub(HubSettings(dataset=sys.argv[1], revision=sys.argv[2]), Path(sys.argv[3]))
"""


def test_a_killed_fetch_goes_on_where_it_was(
    use: Use, tmp_path: Path, large: dict[str, bytes], fashion: dict[str, bytes]
) -> None:
    """Nothing has the final name until it is complete; received bytes are not downloaded again."""
    hub, folder = Hub(), tmp_path / "fashion"
    files = {"a.parquet": fashion[FIRST], **large}
    hub.add_dataset(NAME, files)
    hub.stalls_after = PIECE + 1000
    with hub.running() as address:
        use(address)
        command = [sys.executable, "-c", FETCH, NAME, COMMIT, str(folder)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            assert hub.stalled.wait(60)
            deadline = time.monotonic() + 30
            while PIECE not in [p.stat().st_size for p in tmp_path.rglob("*.part") if p.is_file()]:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
        assert not folder.exists()
        hub.stalls_after = None
        fetch_from_hub(SETTINGS, folder)
    assert hub.ranges == ["", "", f"bytes={PIECE}-"]
    assert holds(folder, files)


def test_a_damaged_part_is_fetched_anew(
    use: Use, tmp_path: Path, fashion: dict[str, bytes]
) -> None:
    hub = Hub()
    hub.add_dataset(NAME, fashion)
    part = tmp_path / ".fashion.part" / "whole" / "data"
    part.mkdir(parents=True)
    checksum = hashlib.sha256(fashion[FIRST]).hexdigest()
    (part / f".{Path(FIRST).name}.{checksum[:12]}.part").write_bytes(b"not what it was")
    (part / "of-another-commit.parquet").write_bytes(b"old")
    with hub.running() as address:
        use(address)
        fetch_from_hub(SETTINGS, tmp_path / "fashion")
    assert hub.ranges == ["bytes=15-", "", ""]
    assert holds(tmp_path / "fashion", fashion)


def test_a_wrong_checksum(use: Use, tmp_path: Path, fashion: dict[str, bytes]) -> None:
    """The size is as promised, but one byte differs."""
    hub = Hub()
    hub.add_dataset(NAME, fashion, wrong=True)
    with hub.running() as address:
        use(address)
        result = fault(SETTINGS, tmp_path / "fashion")
    assert result.startswith(f"{FIRST}: the download does not match the checksum")
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (404, "RepoNotFound", "the hub has no data set shop/fashion, or it is private; check"),
        (401, "RepoNotFound", "the hub has no data set shop/fashion, or it is private; check"),
        (403, "GatedRepo", "the data set requires you to accept its terms"),
        (404, "RevisionNotFound", f"shop/fashion has no revision '{COMMIT}'"),
        (403, "", "shop/fashion: the hub refused the request: HTTP 403 (no permission)"),
        (500, "", "shop/fashion: the hub refused the request: HTTP 500"),
    ],
)
def test_what_the_hub_refuses(use: Use, tmp_path: Path, status: int, code: str, says: str) -> None:
    hub = Hub()
    hub.refuse_dataset(NAME, status, code)
    with hub.running() as address:
        use(address)
        result = fault(SETTINGS, tmp_path / "fashion")
    assert says in result


def test_a_file_that_is_not_there_after_all(
    use: Use, tmp_path: Path, fashion: dict[str, bytes]
) -> None:
    hub = Hub()
    hub.add_dataset(NAME, fashion)
    del hub.files[f"/datasets/{NAME}/resolve/{COMMIT}/{SECOND}"]
    with hub.running() as address:
        use(address)
        assert "the hub refused the request: HTTP 404" in fault(SETTINGS, tmp_path / "fashion")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../../evil.parquet", "has no .parquet files"),
        ("/etc/evil.parquet", "invalid name"),
        ("data/a\\..\\evil.parquet", "invalid name"),
        ("data/\nevil.parquet", "invalid name"),
        ("data.csv", "has no .parquet files"),
    ],
)
def test_names_that_lead_elsewhere(use: Use, tmp_path: Path, name: str, says: str) -> None:
    hub = Hub()
    hub.add_dataset(NAME, {name: b"PAR1"})
    with hub.running() as address:
        use(address)
        assert says in fault(SETTINGS, tmp_path / "in" / "fashion")
    assert not list(tmp_path.rglob("*evil*"))


def test_more_than_fits_the_disk(use: Use, tmp_path: Path, fashion: dict[str, bytes]) -> None:
    hub = Hub()
    hub.add_dataset(NAME, fashion)
    address_of = f"/api/datasets/{NAME}/revision/{COMMIT}?blobs=true"
    listing = json.loads(hub.responses[address_of][2])
    listing["siblings"][0]["size"] = 2**60
    hub.responses[address_of] = (*hub.responses[address_of][:2], json.dumps(listing).encode())
    with hub.running() as address:
        use(address)
        assert "MiB are free; choose another folder" in fault(SETTINGS, tmp_path / "fashion")
    assert hub.ranges == []


# Existing downloads


@pytest.fixture
def there(use: Use, tmp_path: Path, fashion: dict[str, bytes]) -> Fetched:
    """A downloaded data set; the hub is unreachable."""
    hub = Hub()
    hub.add_dataset(NAME, fashion)
    with hub.running() as address:
        use(address)
        return fetch_from_hub(SETTINGS, tmp_path / "fashion")


def test_what_is_there_is_known_again(there: Fetched) -> None:
    again = fetched_before(there.folder, thorough=True)
    assert again is not None
    assert again.already_existed
    assert (again.origin, again.files, again.size) == (there.origin, there.files, there.size)


def test_a_file_that_changed_is_noticed(there: Fetched) -> None:
    path = there.folder / SECOND
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match="has changed since it was downloaded; delete the fold"):
        fetched_before(there.folder, thorough=True)
    path.unlink()
    with pytest.raises(DataError, match="has missing or changed files"):
        fetched_before(there.folder)


@pytest.mark.parametrize("record", ["", "{}", "[1]", '{"files": 1}', "\0"])
def test_a_damaged_record_is_reported(there: Fetched, record: str) -> None:
    (there.folder / RECORD).write_text(record)
    with pytest.raises(DataError, match="delete the folder and fetch it again"):
        fetched_before(there.folder)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "fashion" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(
        DataError, match="was not fetched by bench; choose another folder with --to"
    ):
        fetch_fashion("auto", mine.parent)
    assert mine.read_text() == "mine"


def test_another_data_set_is_not_taken_for_it(there: Fetched) -> None:
    with pytest.raises(DataError, match="contains shop/fashion@00000000 from hub; delete it"):
        fetch_fashion("auto", there.folder)


# `data.source: hub` without a path


def test_without_a_path_the_data_set_is_fetched_once(
    use: Use, tmp_path: Path, fashion: dict[str, bytes]
) -> None:
    """A branch stays at the commit of the first download, even if the hub is unreachable."""
    hub = Hub()
    hub.add_dataset(NAME, fashion, revision="main")
    settings = DataSettings(source="hub", hub=HubSettings(dataset=NAME), image_size=8)
    with hub.running() as address:
        use(address)
        first = prepare(settings, tmp_path).summary
    assert first.title == f"{NAME}@00000000"
    use("http://127.0.0.1:1")
    assert prepare(settings, tmp_path).summary == first
    assert fetch_to_cache(SETTINGS, tmp_path).already_existed


def test_the_default_is_the_published_images_at_a_fixed_commit(
    use: Use, tmp_path: Path, fashion: dict[str, bytes]
) -> None:
    hub = Hub()
    hub.responses[f"/api/datasets/{HUB_DATASET}/revision/{HUB_REVISION}?blobs=true"] = (
        404,
        {},
        b"",
    )
    with hub.running() as address:
        use(address)
        with pytest.raises(DataError, match=HUB_DATASET):
            prepare(DataSettings(source="hub"), tmp_path)
    assert ("GET", next(iter(hub.responses))) in hub.asked


def test_an_unreachable_hub_is_reported_at_once(use: Use, tmp_path: Path) -> None:
    use("http://127.0.0.1:1")
    started = time.perf_counter()
    with pytest.raises(DataError) as caught:
        prepare(DataSettings(source="hub"), tmp_path)
    assert time.perf_counter() - started < 5
    result = str(caught.value)
    assert result.startswith("the Hugging Face hub http://127.0.0.1:1 cannot be reached")
    assert result.endswith("set data.path to its downloaded files")


def test_a_data_set_of_the_hub_that_nothing_reads_is_refused(tmp_path: Path) -> None:
    """A path takes precedence, so that a config also works without access to the hub."""
    with pytest.raises(ValueError, match=r"source demo takes no data\.hub: set data\.source: hub"):
        DataSettings(hub=SETTINGS)
    DataSettings(source="hub", path=tmp_path, hub=SETTINGS)


def test_the_images_where_neither_place_answers(use: Use, tmp_path: Path) -> None:
    """The message has both reasons, and instructions to download by hand."""
    use("http://127.0.0.1:1")
    with pytest.raises(DataError) as caught:
        fetch_fashion("hub", tmp_path / "fashion")
    result = str(caught.value)
    assert "from the hub: the Hugging Face hub http://127.0.0.1:1 cannot be reached" in result
    for address in (
        "https://www.kaggle.com/api/v1/datasets/download/paramaggarwal/fashion-product-images-small",
        f"https://huggingface.co/datasets/{HUB_DATASET}/resolve/{HUB_REVISION}/{FIRST}",
        f"https://huggingface.co/datasets/{HUB_DATASET}/resolve/{HUB_REVISION}/{SECOND}",
    ):
        assert address in result
    assert list(tmp_path.iterdir()) == []


# Kaggle, whose client is an optional dependency

ARCHIVE = "/storage/archive.zip"


class Kaggle(Hub):
    """Server with Kaggle's protocol: a version, then the address of the whole archive."""

    def __init__(self, archive: bytes, checksum: bytes | None = None) -> None:
        super().__init__()
        self.service = "/api/v1/datasets.DatasetApiService"
        version = json.dumps({"currentVersionNumber": 3}).encode()
        kind = {"Content-Type": "application/json"}
        self.responses[f"{self.service}/GetDataset"] = (200, kind, version)
        self.responses[f"{self.service}/DownloadDataset"] = (302, {"Location": ARCHIVE}, b"")
        self.files[ARCHIVE] = archive
        md5 = base64.b64encode(checksum or hashlib.md5(archive, usedforsecurity=False).digest())
        self.headers[ARCHIVE] = {"Accept-Ranges": "bytes", "x-goog-hash": f"md5={md5.decode()}"}


@pytest.fixture
def use_kaggle(use: Use, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Use:
    """Use an address as Kaggle's, with the client's own setting for developers."""
    environment = pytest.importorskip("kagglesdk.kaggle_env", reason="needs the extra kaggle")
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "nothing"))
    endpoints = environment._env_to_endpoint
    return lambda address: monkeypatch.setitem(endpoints, environment.KaggleEnv.LOCAL, address)


@pytest.fixture
def archive(kaggle: KaggleBuilder) -> bytes:
    """The data set's zip, with incompressible images."""
    return kaggle.zip(counts={"Tops": 8, "Shirts": 7}).read_bytes()


def test_kaggles_archive_is_fetched_and_read(
    use_kaggle: Use, tmp_path: Path, archive: bytes
) -> None:
    server, folder = Kaggle(archive), tmp_path / "new" / "fashion"
    with server.running() as address:
        use_kaggle(address)
        got = fetch_from_kaggle("shop/clothes", folder)
    assert (got.source, got.origin, got.files) == ("kaggle", "shop/clothes@3", 16)
    assert [path.name for path in folder.parent.iterdir()] == ["fashion"]
    settings = DataSettings(source="kaggle", path=folder, image_size=8)
    assert prepare(settings, tmp_path / "cache").summary.images_per_class == {
        "Tops": 8, "Shirts": 7,
    }  # fmt: skip
    again = fetched_before(folder, thorough=True)
    assert again is not None
    assert again.already_existed


def test_kaggles_archive_goes_on_where_it_was_cut(
    use_kaggle: Use, tmp_path: Path, kaggle: KaggleBuilder
) -> None:
    images = {"1": os.urandom(2**20), "2": os.urandom(2**20)}
    archive = kaggle.zip("id,articleType\n1,Tops\n2,Shirts\n", images).read_bytes()
    server, folder = Kaggle(archive), tmp_path / "new" / "fashion"
    server.is_sharded = [2**20 + 1000]
    with server.running() as address:
        use_kaggle(address)
        with pytest.raises(DataError, match=r"the connection to Kaggle was lost .*; run the same"):
            fetch_from_kaggle("shop/clothes", folder)
        assert not folder.exists()
        fetch_from_kaggle("shop/clothes", folder)
    assert f"bytes={2**20}-" in server.ranges
    assert (folder / "images" / "1.jpg").read_bytes() == images["1"]
    assert (folder / "images" / "2.jpg").read_bytes() == images["2"]


def test_a_wrong_checksum_of_kaggles(use_kaggle: Use, tmp_path: Path, archive: bytes) -> None:
    with Kaggle(archive, checksum=b"something else").running() as address:
        use_kaggle(address)
        with pytest.raises(DataError, match="does not match the checksum that Kaggle reports"):
            fetch_from_kaggle("shop/clothes", tmp_path / "fashion")
    assert not (tmp_path / "fashion").exists()


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (
            404,
            "shop/clothes: Kaggle has no such data set; check https://www.kaggle.com/datasets/",
        ),
        (403, "Kaggle denied access (HTTP 403); create a token at https://www.kaggle.com/settings"),
        (500, "shop/clothes: Kaggle refused the request (HTTP 500)"),
    ],
)
def test_what_kaggle_refuses(
    use_kaggle: Use, tmp_path: Path, archive: bytes, status: int, says: str
) -> None:
    server = Kaggle(archive)
    server.responses[f"{server.service}/GetDataset"] = (status, {}, b"")
    with server.running() as address:
        use_kaggle(address)
        with pytest.raises(DataError) as caught:
            fetch_from_kaggle("shop/clothes", tmp_path / "fashion")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_from_kaggle_first_then_from_the_hub(
    use: Use, use_kaggle: Use, tmp_path: Path, fashion: dict[str, bytes]
) -> None:
    hub = Hub()
    hub.add_dataset(HUB_DATASET, fashion, revision=HUB_REVISION)
    use_kaggle("http://127.0.0.1:1")
    with hub.running() as address:
        use(address)
        assert fetch_fashion("auto", tmp_path / "fashion").source == "hub"
    assert fetch_fashion("auto", tmp_path / "fashion").already_existed


def test_without_kaggles_client_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DataError, match=r"pip install 'bench-architectures\[kaggle\]'"):
        fetch_from_kaggle("shop/clothes", tmp_path / "fashion")


def test_a_folder_that_cannot_be_written(
    use: Use, tmp_path: Path, fashion: dict[str, bytes]
) -> None:
    (tmp_path / "file").write_text("in the way")
    hub = Hub()
    hub.add_dataset(NAME, fashion)
    with hub.running() as address:
        use(address)
        with pytest.raises(DataError, match="cannot be written"):
            fetch_from_hub(SETTINGS, tmp_path / "file" / "fashion")
