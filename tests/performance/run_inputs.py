"""What the cases work on: the real images where they lie beside the project, else drawings."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from clothclf.data.batches import ImageBatches
from clothclf.data.dataset import DataSet
from clothclf.data.prepare import prepare
from clothclf.data.splits import SPLITS
from clothclf.models.classifier import Classifier
from clothclf.settings import AugmentSettings, DataSettings
from tests.conftest import SHARED

ZIP = SHARED / "data" / "fashion-product-images-small.zip"
WEIGHTS = SHARED / "weights"
SIZE = 112
CPU = torch.device("cpu")


@dataclass(frozen=True)
class RunInputs:
    """A prepared data set, and the same images as JPEG files in a folder."""

    name: str
    data: DataSet
    jpegs: Path

    def batches(self, classifier: Classifier, batch_size: int = 16) -> ImageBatches:
        """The images as our loop reads them."""
        splits = {name: self.data.split(name) for name in SPLITS}
        augment = AugmentSettings()
        return ImageBatches(splits, classifier.normalization, augment, batch_size, 0, CPU)

    def files(self, split: str, count: int) -> list[tuple[Path, int]]:
        """The first images of a split as files, with their class numbers."""
        part = self.data.split(split)
        pairs = zip(part.ids[:count], part.targets[:count], strict=True)
        return [(self.jpegs / f"{image_id}.jpg", int(target)) for image_id, target in pairs]


def gather(folder: Path) -> RunInputs:
    """Prepare the real data, or the demo's drawings, below `folder`."""
    if ZIP.is_file():
        data = prepare(real_settings(), folder / "cache")
        return RunInputs("the real images", data, _unpack(folder / "jpegs"))
    data = prepare(DataSettings(image_size=SIZE), folder / "cache")
    return RunInputs("the demo's drawings", data, _write(data, folder / "jpegs"))


def real_settings() -> DataSettings:
    """The published study's data."""
    return DataSettings(
        source="kaggle", path=ZIP, min_images_per_class=900, max_classes=11, image_size=SIZE
    )


def _unpack(folder: Path) -> Path:
    if folder.is_dir():
        return folder
    folder.mkdir()
    with zipfile.ZipFile(ZIP) as archive:
        for member in archive.namelist():
            name = Path(member).name
            if name.endswith(".jpg"):
                (folder / name).write_bytes(archive.read(member))
    return folder


def _write(data: DataSet, folder: Path) -> Path:
    if folder.is_dir():
        return folder
    folder.mkdir()
    for split in SPLITS:
        part = data.split(split)
        for place, image_id in enumerate(part.ids):
            file = io.BytesIO()
            image = Image.fromarray(part.pixels[part.rows[place]]).resize((60, 80))
            image.save(file, "JPEG")
            (folder / f"{image_id}.jpg").write_bytes(file.getvalue())
    return folder
