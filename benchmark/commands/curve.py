"""`bench curve`: accuracy by the number of training images, and the gain from more of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.commands.options import (
    format_option,
    load,
    notify,
    output_format,
    output_option,
    study_options,
    tuned_option,
)
from benchmark.terminal.output_file import is_file, write_output

if TYPE_CHECKING:
    from benchmark.report.learning_curves import CurveSection

SUFFIXES = {".md": "md", ".json": "json", ".csv": "csv"}


@click.command()
@click.argument("architectures", nargs=-1, metavar="[ARCHITECTURE]...")
@study_options
@tuned_option
@click.option(
    "--finetuned",
    is_flag=True,
    help="Also retrain fine-tuned runs. By default, only heads on cached features are trained.",
)
@click.option("--log", "log", is_flag=True, help="Also log the points and forecasts to MLflow.")
@format_option(["table", *SUFFIXES.values()], "table, or md for a file")
@output_option
def curve(
    architectures: tuple[str, ...],
    config: Path,
    assignments: tuple[str, ...],
    finetuned: bool,
    log: bool,
    form: str | None,
    output: Path | None,
) -> None:
    """Measure whether more training images would help.

    Trains each finished architecture of a study, or each ARCHITECTURE, again with its own recipe on
    1/16, 1/8, 1/4 and 1/2 of the training images, three draws of each; validation and test images
    stay the same. Fits a power law with an offset, predicts the run itself from at most half of the
    images as a check, and
    forecasts the gain from twice the images.

    Runs with a frozen backbone read its cached features and cost only heads. Finished trainings are
    stored beside the run: an interrupted curve resumes, and reports show it.

    \b
    Examples:
      bench curve
      bench curve vgg16 efficientnet_b0 -c configs/fashion.yaml --set data.path=archive.zip
      bench curve -c configs/finetune.yaml --finetuned -o curves.md
    """
    form = output_format(form, output, SUFFIXES, "md" if is_file(output) else "table")
    from benchmark.workflows import measure_curves

    study = load(config, assignments)
    section = measure_curves.measure(study, config, architectures, finetuned, notify)
    if log:
        measure_curves.log_curves(study, section)
    _write(form, output, section)


def _write(form: str, output: Path | None, section: CurveSection) -> None:
    from benchmark.report import learning_curves as curves
    from benchmark.terminal.output import make_console, print_table

    if form == "table":
        console = make_console(stderr=False)
        print_table(console, curves.COLUMNS, curves.cells(section), curves.TITLE)
        for line in section.sentences:
            console.print(line)
        return
    writers = {"md": curves.as_markdown, "json": curves.as_json, "csv": curves.as_csv}
    write_output(writers[form](section), output)
