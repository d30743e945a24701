"""`bench gallery`: a static site of many packed studies."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import notify


@click.command()
@click.argument(
    "packs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PACK..."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("site"),
    show_default=True,
    metavar="FOLDER",
    help="Write the site to FOLDER, in place of an earlier gallery.",
)
@click.option(
    "--costs",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also show the table of all architectures that `bench cost --all-timm -o FILE` wrote.",
)
@click.pass_context
def gallery(ctx: click.Context, packs: tuple[Path, ...], output: Path, costs: Path | None) -> None:
    """Make a site of packed studies that needs no server.

    PACK is a file that `bench pack` wrote. The first page filters and sorts the architectures of
    all studies, and says which win; each study has its report, and each number links to its record.
    Packs are verified as `bench merge` does. An invalid one is left out, with the reason and exit
    code 2. If packs have the same run with different figures, those of the first pack are shown,
    and the exit code is 1.

    \b
    Examples:
      bench gallery anna.bench ben.bench
      bench gallery packs/*.bench -o site
      bench gallery packs/*.bench --costs costs.csv
    """
    from benchmark.gallery.site import FIRST_PAGE, build_gallery

    built = build_gallery(packs, output, costs)
    for line in (*built.refused, *built.conflicts):
        notify(line)
    left_out = f", {len(built.refused)} left out" if built.refused else ""
    noun = "study" if built.studies == 1 else "studies"
    click.echo(f"{built.studies} {noun} with {built.runs} runs{left_out}")
    notify(f"written to {output / FIRST_PAGE}")
    ctx.exit(2 if built.refused else 1 if built.conflicts else 0)
