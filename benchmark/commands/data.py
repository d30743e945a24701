"""`bench data`: inspect a study's images before training on them."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.data_audit import audit
from benchmark.commands.data_fetch import fetch
from benchmark.commands.options import OUTPUT, load, study_options
from benchmark.terminal.output_file import write_output, write_png
from clothclf.csv_text import frame_csv
from clothclf.data.atomic import STANDARD_OUTPUT


@click.group()
def data() -> None:
    """Inspect, audit or fetch the data of a study.

    \b
    Examples:
      bench data stats
      bench data stats -c configs/fashion.yaml --set data.path=archive.zip
      bench data preview -o sheet.png
      bench data audit --sheet audit.png
    """


data.add_command(audit)
data.add_command(fetch)


@data.command()
@study_options
@click.option("--findings", type=OUTPUT, help="Write all findings to a CSV file.")
@click.option("--manifest", type=OUTPUT, help="Write all images to a CSV file.")
def stats(
    config: Path, assignments: tuple[str, ...], findings: Path | None, manifest: Path | None
) -> None:
    """Count rows, classes, splits and excluded images.

    Excluded images are counted by reason. In the manifest, images with the same pixel_hash are
    exact duplicates.

    \b
    Example:
      bench data stats -c configs/fashion.yaml --set data.path=archive.zip --findings found.csv
    """
    from benchmark.audit.data_audit import describe_near_duplicates
    from benchmark.terminal.output import prepare_with_progress
    from benchmark.workflows.data_stats import describe
    from clothclf.data.groups import GROUP_COLUMNS

    study = load(config, assignments)
    prepared = prepare_with_progress(study)
    if STANDARD_OUTPUT not in (findings, manifest):
        click.echo(describe(prepared, describe_near_duplicates(study)), nl=False)
    if findings is not None:
        write_output(frame_csv(prepared.findings), findings)
    if manifest is not None:
        columns = ["id", "label", "split", "pixel_hash", *GROUP_COLUMNS]
        shown = prepared.manifest.columns.intersection(columns, sort=False)
        write_output(frame_csv(prepared.manifest[shown]), manifest)


@data.command()
@study_options
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    default="sheet.png",
    show_default=True,
    help="PNG file to write.",
)
@click.option(
    "--columns",
    type=click.IntRange(1, 40),
    default=10,
    show_default=True,
    help="Number of images per class.",
)
def preview(config: Path, assignments: tuple[str, ...], output: Path, columns: int) -> None:
    """Draw a contact sheet of some training images per class.

    \b
    Example:
      bench data preview -o sheet.png
    """
    from benchmark.terminal.output import prepare_with_progress
    from clothclf.data.contact_sheet import draw_contact_sheet

    study = load(config, assignments)
    write_png(draw_contact_sheet(prepare_with_progress(study), columns), output)


@data.command()
@study_options
def clean(config: Path, assignments: tuple[str, ...]) -> None:
    """Delete cached images, features and probes, but no runs.

    Keeps the MLflow store and the files that a running study uses. Deleted files are created again
    when needed; data from the hub is downloaded again.

    \b
    Example:
      bench data clean -c configs/fashion.yaml --set data.path=archive.zip
    """
    from benchmark.runs.root import clean_cache
    from benchmark.text.numbers import mebibytes

    root = load(config, assignments).tracking.folder.absolute()
    cleaned = clean_cache(root)
    for kind, count in cleaned.deleted.items():
        click.echo(f"deleted {kind}: {mebibytes(count)}")
    for kind, count in cleaned.in_use.items():
        click.echo(f"left {kind}: {mebibytes(count)}, in use by a running command")
    click.echo(f"{mebibytes(sum(cleaned.deleted.values()))} freed in {root}")
