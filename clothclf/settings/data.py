"""Which images a study takes, which classes of them, and how they are split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from clothclf.settings.base import Fraction, ImageSizes, Settings

BUILT_IN_SOURCES = ("demo", "kaggle", "folder", "table", "hub")
"""Of `data.source`; every other name is that of a plug-in."""
CLASS_FOLDER = "class"
"""The only column that `data.source: folder` has."""
DEFAULT_LABEL = "articleType"
NATIVE_SHOWN = 224
"""Pixels of the images that are looked at where each architecture has a size of its own."""

Name = Annotated[str, Field(min_length=1, max_length=200)]


class SplitSettings(Settings):
    """Shares of the images for training, validation and test; stratified by class and seeded."""

    train: Fraction = 0.64
    valid: Fraction = 0.16
    test: Fraction = 0.20
    seed: Annotated[int, Field(ge=0)] = 0
    keep_twins_together: bool = True
    """Images with the same pixels stay on one side; `false` splits as the published study did."""
    keep_near_duplicates_together: bool = False
    """Twins and near-duplicates (one photograph re-encoded, resized, brightened, slightly shifted)
    stay on one side. Off, since it draws other splits, and so makes other runs, where there are
    any; `bench data audit` tells how many stand on both sides."""
    given: Literal["keep", "ignore"] = "keep"
    """`keep` the split that the source gives (its folders, its files, a column); where it gives
    none for validation or test, that is drawn from training by the shares. `ignore` draws all."""
    column: Name | None = None
    """Column that names each image's split: train, valid or test, or as people also say it."""

    @model_validator(mode="after")
    def _shares_add_up(self) -> SplitSettings:
        total = self.train + self.valid + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, valid and test must add up to 1, not {total:g}")
        return self


class AtMostSettings(Settings):
    """At most so many images of each split, taken after splitting: none changes sides.

    Each class is kept in proportion, with one image at least, and a smaller number takes of the
    same images.
    """

    train: Annotated[int, Field(ge=2)] | None = None
    valid: Annotated[int, Field(ge=2)] | None = None
    test: Annotated[int, Field(ge=2)] | None = None


class DemoSettings(Settings):
    """The drawn images of `data.source: demo`."""

    images_per_class: Annotated[int, Field(ge=5, le=10_000)] = 100
    seed: Annotated[int, Field(ge=0)] = 0


HUB_DATASET = "ashraq/fashion-product-images-small"
HUB_REVISION = "bd09c69e56fc0b1f279743fef89d735f3bdf8a42"
"""The commit of `HUB_DATASET` by which both its parquet files were uploaded."""


class HubSettings(Settings):
    """The data set on the Hugging Face hub that `data.source: hub` reads without a `data.path`."""

    dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}$")] = (
        HUB_DATASET
    )
    """As in its address: owner/name."""
    revision: Name | None = None
    """Branch, tag or commit. Without it the default data set is taken at a fixed commit, and any
    other at the commit that `main` is at when it is first fetched."""

    @property
    def wanted_revision(self) -> str:
        """The revision to ask the hub for."""
        pinned = HUB_REVISION if self.dataset == HUB_DATASET else "main"
        return self.revision or pinned


class DataSettings(Settings):
    """Which images, which classes of them, and how they are split."""

    former_keys: ClassVar[Mapping[str, str]] = {"picture": "image"}

    source: Name = "demo"
    """demo, kaggle, folder, table, hub, or the name of a plug-in that is installed."""
    path: Path | None = None
    """Archive, folder or table of the source; relative to the current folder."""
    hub: HubSettings = HubSettings()
    label: Name = DEFAULT_LABEL
    """Column that holds the class; of no meaning for a folder, whose classes are its folders."""
    image: Name | None = None
    """Column that holds the images, or their paths; without it the usual names are looked for."""
    where: dict[Name, tuple[str, ...]] = Field(default_factory=dict, max_length=100)
    """Column by column, the value or values whose rows are taken; all others are left out."""
    exclude: Path | None = None
    """A CSV with a column `id`, or a text with an id in each line: images that are left out."""
    options: dict[Name, str | int | float | bool] = Field(default_factory=dict)
    """For a plug-in, what it says it takes; the sources that come with bench take none."""
    min_images_per_class: Annotated[int, Field(ge=1)] = 1
    """Classes with fewer usable images are left out (at least this many stay)."""
    max_classes: Annotated[int, Field(ge=2)] | None = None
    """Keep only the largest so many classes."""
    max_images_per_class: Annotated[int, Field(ge=1)] | None = None
    """Keep at most so many images of each class, drawn by the split's seed before any image is
    decoded; one that then does not decode is not replaced."""
    max_images: Annotated[int, Field(ge=1)] | None = None
    """Keep at most so many images, each class in proportion, drawn as those of
    `max_images_per_class` before any is decoded; for a quick try."""
    at_most: AtMostSettings = AtMostSettings()
    image_size: ImageSizes = 112
    """Side of the square that every image is resized to, in pixels; a list makes runs of each
    size (a sweep), `native` takes for each architecture the size that timm made it for."""
    demo: DemoSettings = DemoSettings()
    split: SplitSettings = SplitSettings()

    @property
    def shown_size(self) -> int:
        """The size to look at images in: the smallest where there are several, in pixels."""
        if self.image_size == "native":
            return NATIVE_SHOWN
        return self.image_size if isinstance(self.image_size, int) else min(self.image_size)

    @field_validator("where", mode="before")
    @classmethod
    def _values_as_text(cls, where: object) -> object:
        if not isinstance(where, dict):
            return where
        return {column: _values(column, asked) for column, asked in where.items()}

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> DataSettings:
        what = _NEEDED_PATH.get(self.source)
        if what is not None and self.path is None:
            raise ValueError(f"source {self.source} needs data.path: {what}")
        if self.source == "demo" and self.path is not None:
            raise ValueError("source demo takes no data.path: say data.source: kaggle to use it")
        return self

    @model_validator(mode="after")
    def _source_knows_what_it_is_told(self) -> DataSettings:
        if self.image is not None and self.source in ("demo", "kaggle", "folder"):
            raise ValueError(f"source {self.source} takes no data.image: it has no such column")
        if self.hub != HubSettings() and self.source != "hub":
            raise ValueError(f"source {self.source} takes no data.hub: say data.source: hub")
        if self.options and self.source in BUILT_IN_SOURCES:
            raise ValueError(f"source {self.source} takes no data.options: they are for plug-ins")
        if self.source != "folder":
            return self
        if unknown := sorted({self.label, *self.where} - {DEFAULT_LABEL, CLASS_FOLDER}):
            raise ValueError(
                f"source folder has no column {unknown[0]!r}: its classes are the names of its "
                f"folders; leave data.label out, and filter by data.where.{CLASS_FOLDER} only"
            )
        if self.split.column is not None:
            raise ValueError("source folder takes no data.split.column: its folders name the split")
        return self


_NEEDED_PATH = {
    "kaggle": "the downloaded zip or its folder",
    "folder": "a folder, or a zip of it, with a folder of images for each class",
    "table": "a CSV or parquet file with the images' paths and labels",
}


def _values(column: object, asked: Any) -> Any:
    """One value or several, as the text that tables are compared by."""
    values = list(asked) if isinstance(asked, (list, tuple)) else [asked]
    if not values or any(value is None or isinstance(value, (list, dict)) for value in values):
        raise ValueError(f"{column}: give a value, or a list of values, that the rows must have")
    return tuple(
        str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
        for value in values
    )
