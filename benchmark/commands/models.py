"""`bench models`: which architectures there are, what they cost, and what weights they have."""

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
@click.option("--image-size", type=click.IntRange(8, 1024), help="Pixels; by default timm's own.")
@click.option("--max-gmacs", type=Count("G"), metavar="N", help="At most N x 10^9 MACs.")
@click.option(
    "--max-params", type=Count("M"), metavar="N", help="At most N x 10^6 parameters; 10 or 10M."
)
@click.option("--weights", type=click.Path(path_type=Path), help="A folder of weights to look in.")
@click.option(
    "--sort",
    type=click.Choice(["name", "params", "macs"]),
    default="name",
    show_default=True,
    help="By what the list is ordered.",
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

    PATTERN is a name, a wildcard, @FILE or module:function; without one, all are listed.
    Parameters and MACs are of the network with its own classifier, for one image, in the form that
    is deployed; (d) marks where that is not the form that trains. They are counted once and kept
    below the study's tracking folder: all of timm takes minutes the first time. Tags name published
    weights, the default first; at hand is what the model hub's cache or the folder of --weights
    holds.

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

    wanted = table.Wanted(image_size, weights, max_gmacs, max_params, sort)
    cache = cache_folder(open_store(load(config, assignments)))
    found = table.list_models(patterns or ("*",), wanted, cache, notify)
    if written == "csv":
        write_output(table.as_csv(found), output)
    elif written == "json":
        write_output(table.as_json(found), output)
    else:
        rows = [table.cells(item) for item in found]
        print_table(make_console(stderr=False), table.COLUMNS, rows, f"{len(rows):,} architectures")
        if told := table.note(found):
            click.echo(told)
    for item in found:
        if item.fault:
            click.echo(f"bench: {item.fault}", err=True)


REPORT_ABOVE = 20
"""Architectures, above which progress is told."""
