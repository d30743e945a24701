"""`bench models`: list architectures with their costs and pretrained weights."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import (
    Count,
    format_option,
    load,
    output_format,
    output_option,
    study_options,
)
from benchmark.terminal.output_file import is_file, write_output

SUFFIXES = {".csv": "csv", ".json": "json"}


@click.command()
@click.argument("patterns", nargs=-1)
@click.option(
    "--image-size",
    type=click.IntRange(8, 1024),
    help="Input size in pixels  [default: timm's size of each model]",
)
@click.option(
    "--max-gmacs",
    type=Count("G"),
    metavar="N",
    help="Only list models with at most N GMACs (10^9 MACs).",
)
@click.option(
    "--max-params",
    type=Count("M"),
    metavar="N",
    help="Only list models with at most N million parameters; 10 or 10M.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="Folder of weights files to list.")
@click.option(
    "--sort",
    type=click.Choice(["name", "params", "macs"]),
    default="name",
    show_default=True,
    help="Sort order.",
)
@format_option(["table", *SUFFIXES.values()], "table, or json for a file")
@output_option
@study_options
def models(
    patterns: tuple[str, ...],
    image_size: int | None,
    max_gmacs: float | None,
    max_params: float | None,
    weights: Path | None,
    sort: str,
    form: str | None,
    output: Path | None,
    config: Path,
    assignments: tuple[str, ...],
) -> None:
    """List architectures with their costs and weights.

    Each of PATTERNS is a name, a wildcard, @FILE or module:function; without any, all timm models
    are listed. Parameters and MACs are those of the network with its own classifier, for one image,
    in the deployed form; (d) marks networks whose training form differs. Counts are cached below
    the study's tracking folder; counting all of timm takes minutes the first time. Tags name
    published weights, the default first. The column "available" shows weights that are in the model
    hub's cache or in the folder of --weights.

    \b
    Examples:
      bench models 'efficientnet_b*'
      bench models 'efficientnet_b0.*'
      bench models '*mobile*' --max-gmacs 0.3 --max-params 5M --image-size 112 --sort macs
      bench models -o models.csv
    """
    from benchmark.runs.root import cache_folder, open_store
    from benchmark.terminal.output import make_console, print_table
    from benchmark.workflows import models_table as table

    written = output_format(form, output, SUFFIXES, "json" if is_file(output) else "table")

    def notify(done: int, total: int) -> None:
        if total > REPORT_ABOVE and (done % REPORT_ABOVE == 0 or done == total):
            click.echo(f"{done:,} of {total:,} counted", err=True)

    query = table.Query(image_size, weights, max_gmacs, max_params, sort)
    cache = cache_folder(open_store(load(config, assignments)))
    listed = table.list_models(patterns or ("*",), query, cache, notify)
    if written == "csv":
        write_output(table.as_csv(listed), output)
    elif written == "json":
        write_output(table.as_json(listed), output)
    else:
        rows = [table.cells(item) for item in listed]
        print_table(make_console(stderr=False), table.COLUMNS, rows, f"{len(rows):,} architectures")
        if message := table.note(listed):
            click.echo(message)
    for item in listed:
        if item.error:
            click.echo(f"bench: {item.error}", err=True)


REPORT_ABOVE = 20
"""Number of architectures above which progress is printed, and its interval."""
