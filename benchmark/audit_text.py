"""What an audit found, in words and tables: as plain text, markdown, CSV or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.audits import Audit
from benchmark.data_audit import DataAudit
from benchmark.report.numbers import inline, markdown_table
from clothclf.csv_text import csv_text
from clothclf.data.splits import SPLITS

MOST_GROUPS = 20
MOST_SUSPECTS = 30
MOST_ODD = 20
SUSPECT_COLUMNS = ("rank", "id", "label", "suggested", "p_label", "p_suggested", "split")
LITTLE_WORTH = 0.7
"""Accuracy of the heads below which their doubts say more of them than of the labels."""


@dataclass(frozen=True)
class Part:
    """One part of the report: sentences, then a table where there are columns."""

    title: str
    sentences: tuple[str, ...]
    columns: tuple[str, ...] = ()
    rows: Sequence[Sequence[str]] = ()


def parts_of(found: DataAudit) -> list[Part]:
    """The whole report, part by part."""
    return [_near(found), _conflicts(found), _suspects(found.audit), _balance(found), _odd(found)]


def as_text(found: DataAudit) -> str:
    """For a terminal: plain lines, tables in aligned columns."""
    lines = [f"{found.audit.title}, fingerprint {found.audit.fingerprint}", ""]
    for part in parts_of(found):
        lines += [part.title.upper(), *part.sentences]
        if part.rows:
            lines += ["", *_aligned([part.columns, *part.rows])]
        lines.append("")
    shown = ("".join(c if c.isprintable() else " " for c in line) for line in lines)
    return "\n".join(shown).rstrip() + "\n"


def as_markdown(found: DataAudit) -> str:
    """For a file that people read."""
    text = [f"# Audit of {inline(found.audit.title)}", f"Fingerprint {found.audit.fingerprint}."]
    for part in parts_of(found):
        text += [f"## {part.title}", *(inline(sentence) for sentence in part.sentences)]
        if part.rows:
            text.append(markdown_table(part.rows, part.columns))
    return "\n\n".join(text) + "\n"


def as_json(found: DataAudit) -> str:
    """For programs: every group, suspect and odd picture."""
    pictures = found.pictures
    odd = pictures[pictures["oddity"] != ""]
    sizes = pictures.value_counts(["width", "height"]).reset_index()
    report = {
        "fingerprint": found.audit.fingerprint,
        "near_duplicates": [_members(group) for group in found.near_duplicates()],
        "conflicts": [_members(group) for group in found.conflicts()],
        "suspects": found.audit.model_dump(mode="json", exclude={"check", "version"}),
        "classes": {str(name): int(n) for name, n in pictures["label"].value_counts().items()},
        "sizes": sizes.to_numpy(dtype=int).tolist(),
        "stored_modes": {
            str(name): int(n) for name, n in pictures["stored_mode"].value_counts().items()
        },
        "odd": [{"id": str(row.id), "oddity": str(row.oddity)} for row in odd.itertuples()],
    }
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"


def suspects_csv(audit: Audit) -> str:
    """A line for each suspect; `data.exclude` takes such a file."""
    rows = [{**item.model_dump(), "rank": rank} for rank, item in enumerate(audit.suspects, 1)]
    return csv_text(SUSPECT_COLUMNS, ([row[name] for name in SUSPECT_COLUMNS] for row in rows))


def _members(group: pd.DataFrame) -> list[dict[str, str]]:
    columns = ["id", "label", "split", "pixel_hash"]
    return [{str(k): str(v) for k, v in row.items()} for row in group[columns].to_dict("records")]


def _near(found: DataAudit) -> Part:
    groups = found.near_duplicates()
    pictures = sum(len(group) for group in groups)
    across = sum(group["split"].nunique() > 1 for group in groups)
    sentences = [
        f"{pictures:,} pictures in {_several(len(groups), 'group')} are near-duplicates: one "
        "photograph re-encoded, resized, brightened, slightly shifted or recoloured. Twins, with "
        "the very same pixels, are counted by bench data stats.",
        f"{across:,} of the groups stand in several splits"
        f"{': what is learnt of them is also tested' if across else ''}.",
    ]
    if across:
        sentences.append(
            "data.split.keep_near_duplicates_together: true keeps them on one side; it draws "
            "another split, and so other runs."
        )
    rows = [
        [", ".join(map(str, group["id"])), _counted(group["label"]), _counted(group["split"])]
        for group in groups[:MOST_GROUPS]
    ]
    return Part(
        "Near-duplicates",
        (*sentences, *_first(len(rows), len(groups))),
        ("pictures", "labels", "splits"),
        rows,
    )


def _conflicts(found: DataAudit) -> Part:
    groups = found.conflicts()
    rows = [
        [", ".join(f"{row.id} {row.label}" for row in group.itertuples())]
        for group in groups[:MOST_GROUPS]
    ]
    told = "No twins or near-duplicates carry several labels."
    if groups:
        told = (
            f"{_several(len(groups), 'group')} of twins or near-duplicates with several labels: "
            "one of these is wrong, or the classes overlap."
        )
    return Part("Label conflicts", (told, *_first(len(rows), len(groups))), ("pictures",), rows)


def _suspects(audit: Audit) -> Part:
    count = len(audit.suspects)
    by_split = pd.Series([item.split for item in audit.suspects], dtype=object).value_counts()
    splits = ", ".join(f"{int(by_split.get(name, 0)):,} in {name}" for name in SPLITS)
    sentences = [
        f"{count:,} of {audit.pictures:,} labels ({count / max(1, audit.pictures):.1%}) are "
        f"doubted: {splits}. A head on the frozen body of {audit.architecture} (weights "
        f"{audit.weights}), trained on the other pictures, answers something else and means it; "
        f"it is right for {audit.accuracy:.1%} of all.",
        "They were found by a model, and no person has looked at them: among them are label "
        "errors, pictures of several things, and classes that overlap.",
    ]
    if audit.accuracy < LITTLE_WORTH:
        sentences.append(
            "With so few right answers its doubts are worth little; take a better body by "
            "--architecture, or pretrained weights by --set model.weights=…"
        )
    rows = [
        [
            str(rank),
            item.id,
            item.label,
            item.suggested,
            f"{item.p_label:.3f}",
            f"{item.p_suggested:.3f}",
            item.split,
        ]
        for rank, item in enumerate(audit.suspects[:MOST_SUSPECTS], 1)
    ]
    columns = ("rank", "picture", "label", "suggested", "p of label", "p of suggested", "split")
    return Part("Suspected label errors", (*sentences, *_first(len(rows), count)), columns, rows)


def _balance(found: DataAudit) -> Part:
    sizes = found.pictures["label"].value_counts().sort_index().sort_values(kind="stable")
    doubted = pd.Series([item.label for item in found.audit.suspects], dtype=object).value_counts()
    ratio = sizes.iloc[-1] / sizes.iloc[0]
    told = (
        f"The largest of {len(sizes)} classes, {sizes.index[-1]}, has {ratio:.1f} times as many "
        f"pictures as the smallest, {sizes.index[0]}; always answering {sizes.index[-1]} is right "
        f"for {sizes.iloc[-1] / sizes.sum():.1%}."
    )
    rows = [
        [str(label), f"{count:,}", f"{count / sizes.sum():.1%}", f"{int(doubted.get(label, 0)):,}"]
        for label, count in sizes[::-1].items()
    ]
    return Part("Classes", (told,), ("class", "pictures", "share", "labels doubted"), rows)


def _odd(found: DataAudit) -> Part:
    pictures = found.pictures
    odd = pictures[pictures["oddity"] != ""]
    sizes = pictures.groupby(["width", "height"]).size().sort_values(ascending=False)
    (width, height), usual = sizes.index[0], int(sizes.iloc[0])
    aspect = pictures["width"] / pictures["height"]
    modes = _counted(pictures["stored_mode"])
    sentences = (
        f"{usual:,} pictures are stored at {width} x {height} pixels, {len(pictures) - usual:,} at "
        f"{_several(len(sizes) - 1, 'other size')}, from {pictures['width'].min()} to "
        f"{pictures['width'].max()} wide and {pictures['height'].min()} to "
        f"{pictures['height'].max()} high; width by height is {aspect.min():.2f} to "
        f"{aspect.max():.2f}.",
        f"Stored as {modes}.",
        f"Brightness, of 255: {pictures['brightness'].quantile(0.05):.0f} to "
        f"{pictures['brightness'].quantile(0.95):.0f} for nine tenths of the pictures; contrast "
        f"{pictures['contrast'].quantile(0.05):.0f} to {pictures['contrast'].quantile(0.95):.0f}.",
        f"Odd by their brightness: {_several(len(odd), 'picture')}.",
    )
    rows = [[str(row.id), str(row.label), str(row.oddity)] for row in odd.itertuples()]
    return Part(
        "Sizes and brightness",
        (*sentences, *_first(min(len(rows), MOST_ODD), len(rows))),
        ("picture", "label", "odd by"),
        rows[:MOST_ODD],
    )


def _first(shown: int, count: int) -> list[str]:
    return [f"The first {shown:,}:"] if shown < count else []


def _several(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _counted(values: pd.Series) -> str:
    """`Tops 2, Tshirts`: each value, and how often where it is more than once."""
    return ", ".join(
        f"{value} {count:,}" if count > 1 else f"{value}"
        for value, count in values.value_counts().items()
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
