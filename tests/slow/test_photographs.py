"""A folder of thousands of full-size photographs is prepared within 4 GiB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FILES = 3000
MAX_BYTES = 4 * 2**30

PREPARE = """
import json, resource, sys
from pathlib import Path
from clothclf.data.prepare import prepare
from clothclf.settings import DataSettings

made = prepare(
    DataSettings(source="folder", path=Path(sys.argv[1]), image_size=224), Path(sys.argv[2])
)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
told = {"images": made.summary.images, "dropped": made.summary.dropped, "peak": peak}
print(json.dumps({**told, "repaired": made.summary.repaired}))
"""


def draw_originals(folder: Path) -> list[Path]:
    """Photographs of 12 megapixels, one of them turned; a PNG with alpha; an iPhone's HEIC."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = []
    for number in range(4):
        shapes = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        grain = Image.fromarray(rng.integers(0, 256, (3000, 4000, 3), dtype=np.uint8))
        image = Image.blend(shapes.resize((4000, 3000), Image.Resampling.BICUBIC), grain, 0.05)
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 1 else 1
        paths.append(folder / f"{number}.jpg")
        image.save(paths[-1], quality=90, exif=exif)
    image.resize((4000, 3000)).convert("RGBA").save(folder / "alpha.png", compress_level=1)
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(2**21))
    return paths


@pytest.mark.slow
def test_thousands_of_photographs_stay_within_4_gib(tmp_path: Path) -> None:
    originals = tmp_path / "originals"
    jpegs = draw_originals(originals)
    count = 0
    for split, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        for number in range(int(FILES * share)):
            folder = tmp_path / "photos" / split / f"class{number % 3}"
            folder.mkdir(parents=True, exist_ok=True)
            name = "alpha.png" if number % 25 == 0 else "phone.heic" if number % 50 == 1 else ""
            original = originals / name if name else jpegs[number % len(jpegs)]
            os.link(original, folder / f"{number}{original.suffix}")
            count += 1
    done = subprocess.run(
        [sys.executable, "-c", PREPARE, str(tmp_path / "photos"), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["dropped"] == {"HEIC or AVIF is not supported; convert to JPEG": 60}
    assert sum(result["images"].values()) == count - 60
    assert result["repaired"]["image converted to RGB"] == 120
    assert result["peak"] < MAX_BYTES
