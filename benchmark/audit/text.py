"""Write the result of an audit as plain text, Markdown, CSV or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.audit.data_audit import DataAudit
from benchmark.runs.audits import HOW_TO_CORRECT, Audit
from benchmark.text.numbers import inline, markdown_table
from clothclf.csv_text import csv_text
from clothclf.data.splits import SPLITS

MAX_GROUPS = 20
MAX_SUSPECTS = 30
MAX_UNUSUAL = 20
SUSPECT_COLUMNS = (
    *("rank", "id", "label", "suggested", "p_label", "p_suggested", "split"),
    "decision",
)
"""Columns of the CSV; a person fills in the last one for `data.corrections`."""
MIN_RELIABLE_ACCURACY = 0.7
"""Accuracy of the heads below which suspects are unreliable."""


@dataclass(frozen=True)
class Part:
    """One section of the report: sentences, then a table if it has columns."""

    title: str
    sentences: tuple[str, ...]
    columns: tuple[str, ...] = ()
    rows: Sequence[Sequence[str]] = ()


def parts_of(result: DataAudit) -> list[Part]:
    """All sections of the report, in order."""
    return [
        _near(result),
        _conflicts(result),
        _suspects(result.audit),
        _balance(result),
        _unusual(result),
    ]


def as_text(result: DataAudit) -> str:
    """Render as plain text with aligned columns."""
    lines = [f"{result.audit.title}, fingerprint {result.audit.fingerprint}", ""]
    for part in parts_of(result):
        lines += [part.title.upper(), *part.sentences]
        if part.rows:
            lines += ["", *_aligned([part.columns, *part.rows])]
        lines.append("")
    shown = ("".join(c if c.isprintable() else " " for c in line) for line in lines)
    return "\n".join(shown).rstrip() + "\n"


def as_markdown(result: DataAudit) -> str:
    """Render as Markdown."""
    text = [
        f"# Audit of {inline(result.audit.title)}",
        f"Fingerprint {result.audit.fingerprint}.",
    ]
    for part in parts_of(result):
        text += [f"## {part.title}", *(inline(sentence) for sentence in part.sentences)]
        if part.rows:
            text.append(markdown_table(part.rows, part.columns))
    return "\n\n".join(text) + "\n"


def as_json(result: DataAudit) -> str:
    """Render as JSON with every group, suspect and odd image."""
    images = result.images
    unusual = images[images["oddity"] != ""]
    sizes = images.value_counts(["width", "height"]).reset_index()
    report = {
        "fingerprint": result.audit.fingerprint,
        "near_duplicates": [_members(group) for group in result.near_duplicates()],
        "conflicts": [_members(group) for group in result.conflicts()],
        "suspects": result.audit.model_dump(mode="json", exclude={"check", "version"}),
        "classes": {str(name): int(n) for name, n in images["label"].value_counts().items()},
        "sizes": sizes.to_numpy(dtype=int).tolist(),
        "stored_modes": {
            str(name): int(n) for name, n in images["stored_mode"].value_counts().items()
        },
        "odd": [{"id": str(row.id), "oddity": str(row.oddity)} for row in unusual.itertuples()],
    }
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"


def suspects_csv(audit: Audit) -> str:
    """Render suspects as CSV, one line each, for `data.corrections` or `data.exclude`."""
    rows = [
        {**item.model_dump(), "rank": rank, "decision": ""}
        for rank, item in enumerate(audit.suspects, 1)
    ]
    return csv_text(SUSPECT_COLUMNS, ([row[name] for name in SUSPECT_COLUMNS] for row in rows))


def _members(group: pd.DataFrame) -> list[dict[str, str]]:
    columns = ["id", "label", "split", "pixel_hash"]
    return [{str(k): str(v) for k, v in row.items()} for row in group[columns].to_dict("records")]


def _near(result: DataAudit) -> Part:
    groups = result.near_duplicates()
    images = sum(len(group) for group in groups)
    across = sum(group["split"].nunique() > 1 for group in groups)
    sentences = [
        f"{images:,} images in {_with_count(len(groups), 'group')} are near-duplicates: the same "
        "photograph re-encoded, resized, brightened, slightly shifted or recolored. For exact "
        "duplicates, with identical pixels, see bench data stats.",
        f"{across:,} of the groups span several splits"
        f"{': training images leak into validation or test' if across else ''}.",
    ]
    if across:
        sentences.append(
            "data.split.keep_near_duplicates_together: true keeps them in one split; this changes "
            "the split and therefore all runs."
        )
    rows = [
        [", ".join(map(str, group["id"])), _counted(group["label"]), _counted(group["split"])]
        for group in groups[:MAX_GROUPS]
    ]
    return Part(
        "Near-duplicates",
        (*sentences, *_first(len(rows), len(groups))),
        ("images", "labels", "splits"),
        rows,
    )


def _conflicts(result: DataAudit) -> Part:
    groups = result.conflicts()
    rows = [
        [", ".join(f"{row.id} {row.label}" for row in group.itertuples())]
        for group in groups[:MAX_GROUPS]
    ]
    summary = "No exact or near-duplicates have several labels."
    if groups:
        summary = (
            f"{_with_count(len(groups), 'group')} of exact or near-duplicates with several labels: "
            "one label is wrong, or the classes overlap."
        )
    return Part("Label conflicts", (summary, *_first(len(rows), len(groups))), ("images",), rows)


def _suspects(audit: Audit) -> Part:
    count = len(audit.suspects)
    by_split = pd.Series([item.split for item in audit.suspects], dtype=object).value_counts()
    splits = ", ".join(f"{int(by_split.get(name, 0)):,} in {name}" for name in SPLITS)
    sentences = [
        f"{count:,} of {audit.images:,} labels ({count / max(1, audit.images):.1%}) are "
        f"suspected to be wrong: {splits}. {_method(audit)}",
        "They were found by a model and not reviewed by people. They include label errors, images "
        "of several objects, and overlapping classes.",
    ]
    if audit.accuracy < MIN_RELIABLE_ACCURACY:
        sentences.append(
            "At this accuracy the suspects are unreliable; use a better backbone (--architecture) "
            "or pretrained weights (--set model.weights=…)."
        )
    if count:
        sentences.append(HOW_TO_CORRECT)
    has_several_heads = len(audit.heads) > 1
    rows = [
        [
            str(rank),
            item.id,
            item.label,
            item.suggested,
            f"{item.p_label:.3f}",
            f"{item.p_suggested:.3f}",
            item.split,
            *([f"{item.suspected_by} of {len(audit.heads)}"] if has_several_heads else []),
        ]
        for rank, item in enumerate(audit.suspects[:MAX_SUSPECTS], 1)
    ]
    columns = (
        *("rank", "image", "label", "suggested", "p(label)", "p(suggested)", "split"),
        *(("suspected by",) if has_several_heads else ()),
    )
    return Part("Suspected label errors", (*sentences, *_first(len(rows), count)), columns, rows)


def _method(audit: Audit) -> str:
    """How the suspects were found, and how accurate the heads are."""
    known = [
        f"{head.architecture} (weights {head.weights}; accuracy {head.accuracy:.1%})"
        for head in audit.heads
    ]
    if len(known) == 1:
        return (
            f"A head on the frozen backbone of {audit.heads[0].architecture} (weights "
            f"{audit.heads[0].weights}), trained on the other images, confidently predicts a "
            f"different class; its accuracy is {audit.accuracy:.1%} over all images."
        )
    return (
        f"Heads on the frozen backbones of {', '.join(known[:-1])} and {known[-1]}, trained on the "
        "other images, confidently predict a different class on average; the accuracy of their "
        f"averaged probabilities is {audit.accuracy:.1%} over all images."
    )


def _balance(result: DataAudit) -> Part:
    sizes = result.images["label"].value_counts().sort_index().sort_values(kind="stable")
    suspected = pd.Series([item.label for item in result.audit.suspects], dtype=object)
    suspects = suspected.value_counts()
    ratio = sizes.iloc[-1] / sizes.iloc[0]
    summary = (
        f"The largest of {len(sizes)} classes, {sizes.index[-1]}, has {ratio:.1f} times as many "
        f"images as the smallest, {sizes.index[0]}; always predicting {sizes.index[-1]} gives an "
        f"accuracy of {sizes.iloc[-1] / sizes.sum():.1%}."
    )
    rows = [
        [str(label), f"{count:,}", f"{count / sizes.sum():.1%}", f"{int(suspects.get(label, 0)):,}"]
        for label, count in sizes[::-1].items()
    ]
    return Part("Classes", (summary,), ("class", "images", "share", "suspected labels"), rows)


def _unusual(result: DataAudit) -> Part:
    images = result.images
    unusual = images[images["oddity"] != ""]
    sizes = images.groupby(["width", "height"]).size().sort_values(ascending=False)
    (width, height), usual = sizes.index[0], int(sizes.iloc[0])
    aspect = images["width"] / images["height"]
    modes = _counted(images["stored_mode"])
    sentences = (
        f"{usual:,} images are stored at {width} x {height} pixels, {len(images) - usual:,} at "
        f"{_with_count(len(sizes) - 1, 'other size')}; widths are {images['width'].min()} to "
        f"{images['width'].max()}, heights {images['height'].min()} to "
        f"{images['height'].max()} pixels, aspect ratios (width / height) {aspect.min():.2f} to "
        f"{aspect.max():.2f}.",
        f"Color modes: {modes}.",
        f"Brightness (0 to 255, 5th to 95th percentile): "
        f"{images['brightness'].quantile(0.05):.0f} to "
        f"{images['brightness'].quantile(0.95):.0f}; contrast "
        f"{images['contrast'].quantile(0.05):.0f} to {images['contrast'].quantile(0.95):.0f}.",
        f"Unusual brightness or contrast: {_with_count(len(unusual), 'image')}.",
    )
    rows = [[str(row.id), str(row.label), str(row.oddity)] for row in unusual.itertuples()]
    return Part(
        "Sizes and brightness",
        (*sentences, *_first(min(len(rows), MAX_UNUSUAL), len(rows))),
        ("image", "label", "reason"),
        rows[:MAX_UNUSUAL],
    )


def _first(shown: int, count: int) -> list[str]:
    return [f"The first {shown:,}:"] if shown < count else []


def _with_count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _counted(values: pd.Series) -> str:
    """List values with their count if above 1: `Tops 2, Tshirts`."""
    return ", ".join(
        f"{value} {count:,}" if count > 1 else f"{value}"
        for value, count in values.value_counts().items()
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
