"""Download the fashion images of the published study from Kaggle or the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from clothclf.data.fetch.download_folder import Fetched, Progress, fetched_before
from clothclf.data.fetch.hub import fetch_from_hub
from clothclf.data.fetch.kaggle import fetch_from_kaggle
from clothclf.errors import DataError
from clothclf.settings import HubSettings
from clothclf.settings.data import HUB_DATASET, HUB_REVISION

KAGGLE_DATASET = "paramaggarwal/fashion-product-images-small"
HUB_FILES = (
    "data/train-00000-of-00002-6cff4c59f91661c3.parquet",
    "data/train-00001-of-00002-bb459e5ac5f01e71.parquet",
)
"""Names of the parquet files at the default commit."""

Origin = Literal["auto", "hub", "kaggle"]


def fetch_fashion(origin: Origin, folder: Path, progress: Progress | None = None) -> Fetched:
    """Download the images to a folder; `auto` tries Kaggle, then the hub.

    An existing download in the folder is verified by checksum. If no download succeeds, raises
    DataError with instructions to download by hand.
    """
    if (existing := existing_download(folder, origin, (KAGGLE_DATASET, HUB_DATASET))) is not None:
        return existing
    reasons = []
    if origin in ("auto", "kaggle"):
        try:
            return fetch_from_kaggle(KAGGLE_DATASET, folder)
        except DataError as error:
            reasons.append(f"from Kaggle: {error}")
    if origin in ("auto", "hub"):
        try:
            return fetch_from_hub(HubSettings(), folder, progress)
        except DataError as error:
            reasons.append(f"from the hub: {error}")
    raise DataError("\n".join(["the images cannot be fetched", *reasons, by_hand(folder)]))


def existing_download(folder: Path, origin: Origin, datasets: tuple[str, ...]) -> Fetched | None:
    """Return an existing download in a folder; raises DataError if it is another data set."""
    existing = fetched_before(folder, thorough=True)
    if existing is None:
        return None
    if existing.dataset not in datasets or origin not in ("auto", existing.source):
        raise DataError(
            f"{folder}: contains {existing.origin} from {existing.source}; delete it, or choose "
            "another folder with --to"
        )
    return existing


def by_hand(folder: Path) -> str:
    """Return instructions to download by hand: addresses, and the settings to use the files."""
    at_hub = f"https://huggingface.co/datasets/{HUB_DATASET}"
    lines = [
        "To download one of them by hand, use a browser or curl -L -o FILE URL:",
        f"  https://www.kaggle.com/api/v1/datasets/download/{KAGGLE_DATASET}",
        "    as archive.zip; then: data.source=kaggle data.path=archive.zip",
        *(f"  {at_hub}/resolve/{HUB_REVISION}/{name}" for name in HUB_FILES),
        f"    both into {folder}; then: data.source=hub data.path={folder}",
    ]
    return "\n".join(lines)
