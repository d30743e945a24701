"""Image folder with one subfolder per class, optionally zipped or with folders for the splits.

`cats/1.jpg`, or `train/cats/1.jpg` with top folders train, valid (validation, val) or test. Both
may be below folders that contain nothing else.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from clothclf.data.sources.files import open_files, path_of
from clothclf.data.sources.listing import (
    MAX_IMAGE_BYTES,
    Listing,
    Query,
    escaped,
    plain_title,
)
from clothclf.data.splits import SPLIT_NAMES
from clothclf.errors import DataError
from clothclf.settings import DataSettings
from clothclf.settings.data import CLASS_FOLDER

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".heic", ".heif", ".avif"),  # refused with a clear message when they are decoded
)

NO_IMAGE = "file name has no image suffix"
HIDDEN = "image is hidden, or in a hidden folder"

_LAYOUT = "expected one folder per class that directly contains its images"


def open_source(settings: DataSettings, cache: Path) -> FolderSource:
    """Open `data.path`."""
    return FolderSource(path_of(settings))


class FolderSource:
    """Images with the class from their folder's name and the split from the folder above."""

    def __init__(self, path: Path) -> None:
        """Find the class folders; raises DataError if images are at different depths."""
        self.title = plain_title(path.name or str(path))
        self.synthetic = False
        self.path = path
        self._files = open_files(path)
        everything = self._files.all_names()
        names = [name for name in everything if not _is_hidden(name)]
        self._left_out = [item for item in self._files.left_out() if not _is_hidden(item[0])]
        self._left_out += [(name, HIDDEN) for name in everything if _is_hidden_image(name)]
        images = [name.split("/") for name in names if _is_image(name)]
        if not images:
            endings = ", ".join(IMAGE_SUFFIXES[:6])
            raise DataError(
                f"data.path: {path} has no images: {len(names):,} files, none of them with a "
                f"suffix such as {endings}; {_LAYOUT}"
            )
        self._root = _find_root(images)
        down = len(self._root)
        self._has_splits = _has_split_folders([parts[down:] for parts in images], path)
        _require_one_depth([parts[down:] for parts in images], self._has_splits, path)
        prefix = "".join(f"{part}/" for part in self._root)
        self._prefix = prefix
        self._names = [name[len(prefix) :] for name in names if name.startswith(prefix)]
        # Beside the root folder there may be a licence or a checksum.
        beside = [name for name in names if not name.startswith(prefix)]
        self._left_out += [(name, NO_IMAGE) for name in beside]

    def list_images(self, query: Query) -> Listing:
        """List every file with its class, whatever name `query.label` has."""
        parts = [name.split("/") for name in self._names]
        index = 1 if self._has_splits else 0
        # A file beside the class folders has no class; it is reported as not an image.
        classes = [each[index] if len(each) > index + 1 else "." for each in parts]
        splits = [each[0] if len(each) > 1 else "train" for each in parts]
        errors = ["" if _is_image(name) else NO_IMAGE for name in self._names]
        nothing = ["."] * len(self._left_out)
        classes += nothing
        return Listing(
            ids=[*self._names, *(escaped(name) for name, _ in self._left_out)],
            columns={query.label: classes, CLASS_FOLDER: classes},
            splits=splits + nothing if self._has_splits else (),
            errors=[*errors, *(reason for _, reason in self._left_out)],
        )

    def read_bytes(self, image_id: str) -> bytes:
        """Return the encoded image; raises DataError if it is too large or damaged."""
        return self._files.read(self._prefix + image_id, MAX_IMAGE_BYTES)

    def stamp(self) -> str:
        """Return text that changes when the archive or an image of the folder does."""
        return self._files.stamp([self._prefix + name for name in self._names if _is_image(name)])


def _is_hidden(name: str) -> bool:
    """Whether a file is hidden or created by the operating system."""
    parts = name.split("/")
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in parts)


def _is_hidden_image(name: str) -> bool:
    """Whether a hidden file may be a real image, unlike macOS resource forks."""
    parts = name.split("/")
    shadow = "__MACOSX" in parts or parts[-1].startswith("._")
    return _is_hidden(name) and _is_image(name) and not shadow


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _find_root(images: list[list[str]]) -> list[str]:
    """Return the leading folders common to all images, which archives often have."""
    root: list[str] = []
    while all(len(parts) - len(root) > 2 for parts in images):
        tops = {parts[len(root)] for parts in images}
        if len(tops) > 1:
            break
        root.append(tops.pop())
    return root


def _has_split_folders(images: list[list[str]], path: Path) -> bool:
    """Whether the top folders are splits with class folders; raises DataError if only some are."""
    deep = {parts[0] for parts in images if len(parts) > 2}
    tops = sorted({parts[0] for parts in images if len(parts) > 1})
    splits = [top for top in tops if top.lower() in SPLIT_NAMES]
    if not splits or not (deep & set(splits) or splits == tops):
        return False
    names = ", ".join(splits)
    if others := [top for top in tops if top not in splits]:
        raise DataError(
            f"data.path: {path} has the split folders {names} and also {others[0]!r}, which is "
            "not one of train, valid and test; rename it or move it away"
        )
    if flat := [parts for parts in images if len(parts) == 2]:
        raise DataError(
            f"data.path: {path}: {'/'.join(flat[0])} is directly in the split folder "
            f"{flat[0][0]!r}; expected one folder per class in it, or use data.source: table"
        )
    twice = [name for name, n in Counter(SPLIT_NAMES[s.lower()] for s in splits).items() if n > 1]
    if twice:
        raise DataError(
            f"data.path: {path} has the split folders {names}, several of them for {twice[0]}; "
            "merge them"
        )
    return True


def _require_one_depth(images: list[list[str]], has_splits: bool, path: Path) -> None:
    depth = 3 if has_splits else 2
    layout = f"{_LAYOUT}{', below train, valid and test' if has_splits else ''}"
    if shallow := [parts for parts in images if len(parts) < depth]:
        where = "beside the class folders" if len(shallow) < len(images) else "in no class folder"
        raise DataError(
            f"data.path: {path}: {len(shallow):,} images are {where}, the first is "
            f"{'/'.join(shallow[0])}; {layout}"
        )
    if deep := [parts for parts in images if len(parts) > depth]:
        some = "all" if len(deep) == len(images) else f"{len(deep):,} of {len(images):,}"
        raise DataError(
            f"data.path: {path}: {some} images are deeper than the class folders, the first is "
            f"{'/'.join(deep[0])}; {layout}, or name the classes in a table (data.source: table)"
        )
