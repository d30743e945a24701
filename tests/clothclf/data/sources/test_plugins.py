"""Source plug-ins: found by entry point, and named in every error message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clothclf.data.sources import list_rows, open_source
from clothclf.data.sources.listing import Listing
from clothclf.errors import DataError
from clothclf.settings import DataSettings

Install = Callable[[str], None]

GOOD = """
from clothclf.data.sources.listing import Listing


class Source:
    title = "shelf"
    synthetic = False

    def __init__(self, settings):
        self.count = settings.options.get("count", 4)

    def list_images(self, wanted):
        ids = [str(number) for number in range(self.count)]
        return Listing(ids, {name: ["ab"[int(i) % 2] for i in ids] for name in wanted.columns})

    def read_bytes(self, image_id):
        return image_id.encode()

    def stamp(self):
        return "1"


def open_it(settings):
    return Source(settings)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package with the plug-in `shelf`, with the files that pip would write."""

    def write(module: str) -> None:
        name = f"shelf_{tmp_path.name.replace('-', '_')}"
        site = tmp_path / "site"
        info = site / "shelf-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{name}.py").write_text(module)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[bench.sources]\nshelf = {name}:open_it\n")
        monkeypatch.syspath_prepend(site)

    return write


def settings(**options: object) -> DataSettings:
    return DataSettings.model_validate({"source": "shelf", **options})


def ask_everything(tmp_path: Path) -> None:
    source = open_source(settings(), tmp_path)
    list_rows(source, settings())
    source.stamp()


def fault(tmp_path: Path) -> str:
    with pytest.raises(DataError) as caught:
        ask_everything(tmp_path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_plug_in_is_a_source_like_any_other(install: Install, tmp_path: Path) -> None:
    install(GOOD)
    asked = settings(options={"count": 6}, where={"x": "a"})
    source = open_source(asked, tmp_path)
    assert list_rows(source, asked).rows["id"].tolist() == ["0", "2", "4"]
    assert source.read_bytes("3") == b"3"


def test_stamps_of_other_options_differ(install: Install, tmp_path: Path) -> None:
    """Plug-ins with equal stamps for different images must not share a cache."""
    install(GOOD)
    stamps = {open_source(settings(options={"count": n}), tmp_path).stamp() for n in (4, 5)}
    assert len(stamps) == 2


def test_a_name_that_is_not_there_is_reported_with_those_that_are(
    install: Install, tmp_path: Path
) -> None:
    install(GOOD)
    asked = DataSettings(source="shelv")
    with pytest.raises(DataError, match=r"'shelv' \(did you mean shelf\?\).*plug-ins: .*shelf"):
        open_source(asked, tmp_path)


def test_a_name_like_a_built_in_one_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown source 'kagle' \(did you mean kaggle"):
        open_source(DataSettings(source="kagle"), tmp_path)


RAISES = "    raise ValueError('broken\\nshelf')\n"


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("import nothing_like_this\n", "cannot be loaded with ModuleNotFoundError: No module"),
        ("x = 1\n", "cannot be loaded with AttributeError"),
        ("open_it = 1\n", "is not a callable"),
        ("raise SystemExit(3)\n", "cannot be loaded with SystemExit: 3"),
        (f"def open_it(settings):\n{RAISES}", "failed with ValueError: broken shelf"),
        (
            "def open_it(settings):\n    return []\n",
            "did not return a source: its list lacks list_im",
        ),
        (GOOD.replace("title = ", "name = "), "lacks title (text)"),
        (GOOD.replace("return Listing(", "return len("), "failed with TypeError"),
        (GOOD.replace("return Listing(ids, ", "return (ids, "), "it is a tuple, not a Listing"),
        (GOOD.replace("for name in wanted.columns}", "for name in ()}"), "has no column 'article"),
        (GOOD.replace("Listing(ids, ", "Listing(ids[1:], "), "has 4 values for 3 ids"),
        (GOOD.replace("[str(number) for", "[number for"), "ids holds int, which is not text"),
        (GOOD.replace("str(number) for", "str(number) + '\\n' for"), "is not plain text"),
        (GOOD.replace("Listing(ids,", "Listing('0123',"), "ids is a str, not a list of text"),
        (GOOD.replace('return "1"', "return 1 / 0"), "failed with ZeroDivisionError: division"),
    ],
)
def test_a_plug_in_that_misbehaves_is_one_sentence_that_names_it(
    install: Install, tmp_path: Path, module: str, says: str
) -> None:
    install(module)
    message = fault(tmp_path)
    assert message.startswith("data.source: plug-in 'shelf' (shelf_")
    assert says in message


def test_a_image_that_a_plug_in_cannot_read_is_left_out(install: Install, tmp_path: Path) -> None:
    """As with any source, an unreadable image is dropped and does not end the study."""
    backbone = "if image_id == '2':\n            raise OSError('gone')\n        return 7"
    install(GOOD.replace("return image_id.encode()", backbone))
    source = open_source(settings(), tmp_path)
    with pytest.raises(DataError, match="failed with OSError: gone"):
        source.read_bytes("2")
    with pytest.raises(DataError, match="read_bytes returned int"):
        source.read_bytes("3")


def test_the_former_name_of_a_field_of_a_listing_is_understood() -> None:
    with pytest.warns(DeprecationWarning, match="renamed to errors"):
        listing = Listing(["a", "b"], {}, faults=["", "is no image"])
    assert listing.errors == ["", "is no image"]
