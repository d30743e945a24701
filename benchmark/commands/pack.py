"""`bench pack`: write the runs of a study to a file for other people."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import OUTPUT, load, notify, study_options
from benchmark.terminal.output_file import writing


@click.command()
@study_options
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    metavar="FILE",
    help="Write to FILE, or to standard output (-).  [default: STUDY.bench]",
)
@click.pass_context
def pack(
    ctx: click.Context, config: Path, assignments: tuple[str, ...], output: Path | None
) -> None:
    """Pack the runs of a study, for others to merge.

    The file holds records, predictions, learning curves, stress results, audits, figures and
    predictions of deployed variants, why runs failed, and the ids, labels and splits of the images;
    no images, no models, no paths and no passwords. `bench merge` verifies it. The exit code is 1
    if something cannot be verified and was left out.

    \b
    Examples:
      bench pack
      bench pack -c configs/fashion.yaml --set data.path=archive.zip -o fashion.bench
    """
    from benchmark.workflows.share_runs import pack_study

    study = load(config, assignments)
    with writing(output or Path(f"{study.study}.bench")) as unfinished:
        packed = pack_study(study, unfinished)
    for line in packed.skipped:
        notify(line)
    failed = f", and {packed.without_figures} without figures" if packed.without_figures else ""
    notify(f"{packed.runs} runs packed{failed}")
    ctx.exit(1 if packed.skipped else 0)
