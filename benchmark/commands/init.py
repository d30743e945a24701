"""`bench init`: write a config for your data."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import OUTPUT
from benchmark.terminal.output_file import is_file, write_output


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    default="bench.yaml",
    show_default=True,
    metavar="FILE",
    help="Config file to write, or - for standard output.",
)
@click.option("--label", metavar="COLUMN", help="Column of the classes  [default: detected]")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def init(path: Path, output: Path, label: str | None, force: bool) -> None:
    """Write a commented config for the data at PATH.

    PATH is a folder or zip archive with one folder per class, a CSV or parquet table of image
    paths, parquet files with images, or Kaggle's fashion archive. Comments describe the data:
    label column and alternatives, classes, image sizes, splits. The exit code is 2 if there is
    nothing to train on.

    \b
    Examples:
      bench init pets -o pets.yaml
      bench init birds/birds.csv --label species -o birds.yaml
      bench init archive.zip
    """
    if is_file(output) and output.exists() and not force and output.is_file():
        raise click.UsageError(f"{output} exists; give another file with -o, or --force")

    from benchmark.workflows.init_study import init_config

    config = str(output) if is_file(output) else "bench.yaml"
    write_output(init_config(path, label, config), output)
    if is_file(output):
        click.echo(f"next: bench run --all --dry-run -c {output}", err=True)
