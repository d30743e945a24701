"""`bench data audit`: find near-duplicates, suspected label errors and outliers."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import OUTPUT, load, study_options
from benchmark.terminal.output_file import write_output, write_png
from clothclf.data.atomic import STANDARD_OUTPUT


@click.command()
@study_options
@click.option(
    "--architecture",
    "architectures",
    metavar="NAME",
    multiple=True,
    help="Architecture whose features are used to find label errors; repeatable: the predictions "
    "of several are averaged.  [default: the study's first]",
)
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    help="Write the report to a file: JSON if it ends in .json, else Markdown.",
)
@click.option(
    "--sheet",
    type=OUTPUT,
    help="Draw near-duplicates and suspects to a PNG file.",
)
@click.option(
    "--csv",
    "table",
    type=OUTPUT,
    help="Write all suspects to a CSV file; with its column decision filled in, data.corrections "
    "reads it.",
)
@click.option(
    "--show",
    type=click.IntRange(1, 500),
    default=40,
    show_default=True,
    help="Maximum number of suspects, and of groups of near-duplicates, on the sheet.",
)
def audit(
    config: Path,
    assignments: tuple[str, ...],
    architectures: tuple[str, ...],
    output: Path | None,
    sheet: Path | None,
    table: Path | None,
    show: int,
) -> None:
    """Find near-duplicates, suspected label errors and outliers.

    Changes nothing. A model finds suspected label errors: a head trained on the other images
    predicts each image. The suspects are saved, and the report then also gives each accuracy
    without them.

    \b
    Examples:
      bench data audit
      bench data audit -c configs/fashion.yaml --set data.path=archive.zip --sheet sheet.png
      bench data audit --architecture resnet18 --architecture vgg16 --csv suspects.csv
    """
    from benchmark.audit import text as audit_text
    from benchmark.audit.data_audit import audit_data

    study = load(config, assignments)
    result = audit_data(study, architectures)
    if STANDARD_OUTPUT not in (output, sheet, table):
        click.echo(audit_text.as_text(result), nl=False)
    if output is not None:
        as_json = output.suffix.lower() == ".json"
        write_output(
            audit_text.as_json(result) if as_json else audit_text.as_markdown(result), output
        )
    if table is not None:
        write_output(audit_text.suspects_csv(result.audit), table)
    if sheet is not None:
        from benchmark.audit.sheet_images import draw_audit

        write_png(draw_audit(result, show), sheet)
    click.echo(f"suspects saved to {result.saved_to}", err=True)
