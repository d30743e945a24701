"""`bench export`: a trained run as a file that needs no bench."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import load, study_options, winner_options

ENDINGS = {"onnx": ".onnx", "torch": ".pt2", "torchscript": ".pt"}


@click.command()
@study_options
@winner_options
@click.option(
    "--format",
    "form",
    type=click.Choice(list(ENDINGS)),
    default="onnx",
    show_default=True,
    help="onnx; torch: an exported program (.pt2); torchscript, which torch has given up on.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file; by default the run's name with the format's ending.",
)
@click.option(
    "--check",
    "most",
    type=click.IntRange(1),
    help="Compare answers on so many test pictures; by default on all.",
)
def export(
    config: Path,
    assignments: tuple[str, ...],
    asked: str | None,
    from_select: bool,
    form: str,
    output: Path | None,
    most: int | None,
) -> None:
    """Write the study's pick, or the run that --run names, for other programs.

    Normalising, softmax and the classes' names are inside. Feed RGB pictures that are resized to
    the model's size, as uint8 [n, size, size, 3]; get probabilities [n, classes]. What is written
    answers as the run does, or nothing is: the same class for every test picture, probabilities
    within 1e-4. ONNX needs the extra `export`.

    \b
    Examples:
      bench export -o clothes.onnx
      bench export --run vgg16-s0 --format torch
    """
    from benchmark.use.winner import find_winner

    found, why = find_winner(asked, lambda: load(config, assignments), config, from_select)
    click.echo(f"exporting {found.name}, {why}", err=True)

    from benchmark.use.export import export as export_run

    path = output or Path(f"{found.record.spec.name.replace('/', '-')}{ENDINGS[form]}")
    checked = export_run(found, form, path, most)
    if found.record.spec.precision != "float32":
        click.echo(
            f"it was trained in {found.record.spec.precision} and is exported in float32", err=True
        )
    click.echo(
        f"written to {path}: {checked.pictures:,} {checked.of} get the same class, probabilities "
        f"within {checked.largest_difference:.1e}",
        err=True,
    )
