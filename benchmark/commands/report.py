"""`bench report`: the runs of a study side by side, and the pick."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import load, study_options, write_output


@click.command()
@study_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "csv", "json"]),
    default="md",
    show_default=True,
    help="How to write it.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file, not the terminal.")
def report(config: Path, assignments: tuple[str, ...], form: str, output: Path | None) -> None:
    """Compare the runs of a study: accuracy, costs, and which architecture to pick.

    Only runs of the same data and protocol stand in one table; failed and unfinished ones are
    listed with their reason.

    \b
    Examples:
      bench report
      bench report -c configs/fashion.yaml --set data.path=archive.zip -o report.md
      bench report --format csv -o report.csv
    """
    from benchmark.errors import ReportError
    from benchmark.report.collect import collect
    from benchmark.report.render import FORMATS

    study = load(config, assignments)
    root = study.tracking.folder.absolute()
    collection = collect(study, root)
    if not collection.comparisons:
        others = f"; there are {'; '.join(collection.elsewhere)}" if collection.elsewhere else ""
        raise ReportError(
            f"study {study.study!r} has no runs with these settings in {root}{others}; "
            f"run them first: bench run --all -c {config}"
        )
    write_output(FORMATS[form](study, collection), output)
