"""Write a commented config for a user's data, for `bench init`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmark.config.study import load_study_text
from clothclf.data.sources.listing import escaped
from clothclf.data.survey import LabelColumn, Survey, survey
from clothclf.errors import DataError
from clothclf.settings.data import BUILT_IN_SOURCES, NATIVE_SHOWN

CLASSES_SHOWN = 5
COLUMNS_SHOWN = 10
NAME_CHARACTERS = 40
"""Maximum length of names in comments."""
IMAGE_SIZES = (32, 48, 64, 80, 96, 112, 128, 160, 192, NATIVE_SHOWN)
"""Suggested image sizes in pixels; most pretrained weights are of 224."""


def init_config(path: Path, label: str | None, config: str) -> str:
    """Return the text of a config for the data at a path, after inspecting it.

    `label` is the label column, None to choose one; `config` is the name of the file in comments.
    Raises DataError, with the reason, if there is nothing to train on.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"{path}: is not UTF-8, as a config must be; rename it") from None
    surveyed = survey(path, label)
    text = config_text(surveyed, config)
    load_study_text(text, config)  # a hostile name must not become another config
    return text


def config_text(surveyed: Survey, config: str) -> str:
    """Return a commented config for what a survey found."""
    classes = {name: n for name, n in surveyed.counts.items() if n >= surveyed.min_images_per_class}
    lines = [
        *_header(surveyed, classes, config),
        f"study: {quoted(study_name(surveyed.path))}",
        "",
        "data:",
        f"  source: {surveyed.source}  # {BUILT_IN_SOURCES[surveyed.source].layout}",
        f"  path: {quoted(str(surveyed.path))}  # relative to the current folder",
        *_label_lines(surveyed),
        *_class_lines(surveyed, classes),
        *_size_lines(surveyed),
        *_split_lines(surveyed),
        "",
        "# Any timm models (`bench models`); wildcards such as efficientnet_b* are allowed.",
        "architectures: [resnet18, efficientnet_b0, mobilenetv3_large_100]",
        "",
        "model:",
        "  weights: auto  # pretrained ones, or random ones if the hub is unreachable; pretrained",
        "  # refuses random ones, with which accuracies of frozen backbones mean little",
        "  mode: frozen  # trains the head only: minutes on a CPU; finetune trains all parameters",
        "  standardize_features: true",
        "",
        "train:",
        "  epochs: 10",
        "  optimizer: adamw",
        "  learning_rate: 0.0003",
        "  schedule: cosine",
        "",
        "seeds: [0]  # several seeds show how much accuracy varies between runs",
    ]
    return "\n".join(lines) + "\n"


def _header(surveyed: Survey, classes: dict[str, int], config: str) -> list[str]:
    images = sum(surveyed.counts.values())
    shown = _shell_word(config)
    return [
        f"# Written by `bench init` from {shown_name(str(surveyed.path), 200)}:",
        f"# {surveyed.rows_read:,} rows, {images:,} usable images in {len(surveyed.counts):,} "
        f"classes; {sum(classes.values()):,} images in {len(classes):,} classes are used.",
        f"# Check the data:  bench data stats -c {shown}",
        f"# See the plan:    bench run --all --dry-run -c {shown}",
        f"# Run and report:  bench run --all -c {shown} && bench report -c {shown} -o report.html",
        "# Every key: `bench config schema`, which editors use to complete and check this file.",
    ]


def _label_lines(surveyed: Survey) -> list[str]:
    lines = []
    if surveyed.label is not None:
        lines.append(f"  label: {quoted(surveyed.label)}")
        if surveyed.others:
            lines.append(f"  # Other columns with classes: {_columns(surveyed.others)}")
    if surveyed.image is not None:
        lines.append(f"  image: {quoted(surveyed.image)}  # the column of image paths")
    return lines


def _columns(columns: Sequence[LabelColumn]) -> str:
    shown = ", ".join(f"{shown_name(c.name)} ({c.classes:,})" for c in columns[:COLUMNS_SHOWN])
    more = len(columns) - COLUMNS_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _class_lines(surveyed: Survey, classes: dict[str, int]) -> list[str]:
    counts = list(surveyed.counts.items())
    largest = ", ".join(f"{shown_name(name)} {n:,}" for name, n in counts[:CLASSES_SHOWN])
    lines = [f"  # Largest classes: {largest}"]
    if len(counts) > CLASSES_SHOWN:
        name, count = counts[-1]
        lines.append(f"  # Smallest class: {shown_name(name)} {count:,}")
    dropped = len(counts) - len(classes)
    note = f"drops {dropped:,} smaller classes" if dropped else "keeps all classes"
    return [*lines, f"  min_images_per_class: {surveyed.min_images_per_class}  # {note}"]


def _size_lines(surveyed: Survey) -> list[str]:
    sides = sorted(min(size) for size in surveyed.sizes)
    lines = [
        f"  # Shorter side of {len(sides):,} sampled images: {sides[0]:,} to {sides[-1]:,} pixels, "
        f"median {surveyed.median_side:,}"
    ]
    if surveyed.undecodable:
        lines.append(f"  # {surveyed.undecodable:,} more do not decode: see `bench data stats`")
    size = suggested_size(surveyed.median_side)
    return [*lines, f"  image_size: {size}  # smaller is faster, and loses detail"]


def suggested_size(median_side: int) -> int:
    """Suggest `image_size`: the smallest usual size that keeps the detail, at most 224."""
    return next((size for size in IMAGE_SIZES if size >= median_side), NATIVE_SHOWN)


def _split_lines(surveyed: Survey) -> list[str]:
    column = surveyed.split_column
    lines = ["  split:"]
    if surveyed.unusable_splits:
        reason = shown_name(surveyed.unusable_splits, 300)
        lines += [f"    # The given split is not usable: {reason}", "    given: ignore"]
    elif column is not None:
        lines.append(f"    column: {quoted(column)}  # gives {', '.join(surveyed.splits)}")
    elif len(surveyed.splits) > 1:
        where = "files" if surveyed.source == "hub" else "folders"
        lines.append(f"    given: keep  # {', '.join(surveyed.splits)}, from the names of {where}")
    is_drawn = surveyed.unusable_splits or len(surveyed.splits) < 2
    drawn = "drawn at random, by class" if is_drawn else "for splits that the data do not give"
    return [*lines, "    train: 0.64", "    valid: 0.16", f"    test: 0.2  # {drawn}"]


def study_name(path: Path) -> str:
    """Name a study after its data: letters, digits, `.`, `_` and `-`."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().stem).strip("-._")
    return name[:100] or "study"


def quoted(text: str) -> str:
    """Quote text as a YAML scalar on one line, unless it is a plain word."""
    if _PLAIN.fullmatch(text) and isinstance(yaml.safe_load(text), str):
        return text
    plain = text.isprintable()
    line: str = yaml.safe_dump(text, default_style='"', allow_unicode=plain, width=2**20)
    return line.rstrip("\n")


def shown_name(text: str, limit: int = NAME_CHARACTERS) -> str:
    """Shorten text, and escape what would end the line of a comment."""
    safe = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in escaped(text))
    return safe if len(safe) <= limit else f"{safe[:limit]}…"


def _shell_word(text: str) -> str:
    return shlex.quote(shown_name(text, 200))


_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,199}", re.ASCII)
