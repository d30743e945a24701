"""`bench merge`: verify packs of runs, and merge them into a store."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import load, notify, study_options


@click.command()
@click.argument(
    "packs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PACK..."
)
@study_options
@click.pass_context
def merge(
    ctx: click.Context, packs: tuple[Path, ...], config: Path, assignments: tuple[str, ...]
) -> None:
    """Verify packs, and merge their runs into the store of a study.

    PACK is a file that `bench pack` wrote. Nothing is stored unless all packs are as they were
    packed, and all figures follow from the predictions in them. Runs that the store has stay as
    they are: if its figures differ from the pack's, the difference is shown, and the exit code
    is 1. If only times differ, that is mentioned. Merging the same pack again changes nothing.

    \b
    Examples:
      bench merge anna.bench ben.bench
      bench merge *.bench -c configs/fashion.yaml --set data.path=archive.zip
    """
    from benchmark.workflows.share_runs import merge_packs

    study = load(config, assignments)
    merged = merge_packs(study, packs)
    for line in merged.added:
        click.echo(f"merged {line}")
    for line in [*merged.notes, *merged.conflicts]:
        notify(line)
    click.echo(
        f"{len(merged.added)} runs merged, {merged.known} already known, "
        f"{len(merged.conflicts)} not merged"
    )
    for name in sorted(merged.studies - {study.study}):
        notify(f"runs of study {name}: `bench report --set study={name}` reports them")
    ctx.exit(1 if merged.conflicts else 0)
