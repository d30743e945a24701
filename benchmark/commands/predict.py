"""`bench predict`: classify images with a trained run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.commands.options import (
    format_option,
    load,
    output_format,
    output_option,
    study_options,
    winner_options,
)
from benchmark.terminal.output_file import write_output
from clothclf.csv_text import csv_text

if TYPE_CHECKING:
    from benchmark.inference.predict import FilePrediction

SUFFIXES = {".csv": "csv", ".json": "json"}
EXIT_SOME_UNREAD = 1


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@study_options
@winner_options
@format_option(["table", *SUFFIXES.values()], "csv for a folder, table for files")
@click.option(
    "--device", default="auto", show_default=True, help="Device: auto, cpu, cuda, cuda:1, mps."
)
@output_option
@click.pass_context
def predict(
    ctx: click.Context,
    images: tuple[Path, ...],
    config: Path,
    assignments: tuple[str, ...],
    requested: str | None,
    from_select: bool,
    form: str | None,
    device: str,
    output: Path | None,
) -> None:
    """Predict the class of IMAGES, files or folders.

    Uses the study's pick, or the run of --run: a name, a run_id or a prefix of it, or a folder.
    Probabilities are from 0 to 1. The exit code is 1 if a file cannot be read; its row gives the
    reason.

    \b
    Examples:
      bench predict shirt.jpg
      bench predict shirt.jpg --run efficientnet_b0-s0 --format json
      bench predict photos/ -c configs/fashion.yaml -o predictions.csv
    """
    from benchmark.inference.predict import images_of, predict_files
    from benchmark.workflows.winner import find_winner

    default = "csv" if any(path.is_dir() for path in images) else "table"
    kind = output_format(form, output, SUFFIXES, default)
    paths = images_of(images)
    run, why = find_winner(requested, lambda: load(config, assignments), config, from_select)

    from benchmark.inference.predictor import open_predictor

    predictor = open_predictor(run, device)
    click.echo(f"predicted by {run.name}, {why}", err=True)
    unread = 0

    def counted() -> Iterable[FilePrediction]:
        nonlocal unread
        for item in predict_files(predictor, paths):
            unread += item.prediction is None
            yield item

    write_output(_WRITERS[kind](counted()), output)
    if unread:
        click.echo(f"{unread} of {len(paths)} files could not be read", err=True)
        ctx.exit(EXIT_SOME_UNREAD)


def _table(items: Iterable[FilePrediction]) -> str:
    lines = []
    for item in items:
        text = item.error
        if item.prediction is not None:
            first, *others = (f"{label} {share:.4f}" for label, share in item.prediction.top)
            text = f"{first} ({', '.join(others)})" if others else first
        # Escape terminal control codes, which file names may contain.
        name = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(item.path))
        lines.append(f"{name}: {text}\n")
    return "".join(lines)


def _csv(items: Iterable[FilePrediction]) -> str:
    indices = range(1, 6)
    columns = [
        "file",
        *(f"{what}_{n}" for n in indices for what in ("class", "probability")),
        "error",
    ]
    rows = []
    for item in items:
        top = () if item.prediction is None else item.prediction.top
        cells = [value for label, share in top for value in (label, f"{share:.6f}")]
        blank = [""] * (2 * len(indices) - len(cells))
        rows.append([str(item.path), *cells, *blank, item.error])
    return csv_text(columns, rows)


def _json(items: Iterable[FilePrediction]) -> str:
    rows = [
        {
            "file": str(item.path),
            "class": item.prediction.label if item.prediction else None,
            "probability": item.prediction.probability if item.prediction else None,
            "top5": [
                {"class": label, "probability": share}
                for label, share in (item.prediction.top if item.prediction else ())
            ],
            "error": item.error,
        }
        for item in items
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


_WRITERS = {"table": _table, "csv": _csv, "json": _json}
