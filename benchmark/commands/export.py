"""`bench export`: export a trained run to a file that does not need bench."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import (
    OUTPUT,
    format_option,
    load,
    output_format,
    study_options,
    winner_options,
)
from benchmark.terminal.output_file import is_file

SUFFIXES = {".onnx": "onnx", ".pt2": "torch", ".pt": "torchscript"}


@click.command()
@study_options
@winner_options
@format_option(list(SUFFIXES.values()), "onnx")
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    metavar="FILE",
    help="Write to FILE, or to standard output (-).  [default: the run's name and the format's "
    "suffix]",
)
@click.option(
    "--check",
    "maximum",
    type=click.IntRange(1),
    help="Maximum number of test images to compare predictions on  [default: all]",
)
def export(
    config: Path,
    assignments: tuple[str, ...],
    requested: str | None,
    from_select: bool,
    form: str | None,
    output: Path | None,
    maximum: int | None,
) -> None:
    """Export a trained run as ONNX, torch program or TorchScript.

    Exports the study's pick, or the run of --run.

    The file includes normalization, softmax and class names. The input is RGB images resized to
    the model's input size, uint8 [n, size, size, 3]; the output is probabilities [n, classes]. The
    exported model must predict like the run, or no file is written: the same class for every test
    image, and probabilities within 1e-4. Networks that can be re-parameterized are exported in that
    form, as `bench cost` counts and measures them. ONNX needs the extra `export`.

    \b
    Examples:
      bench export -o clothes.onnx
      bench export --run vgg16-s0 -o vgg16.pt2
    """
    form = output_format(form, output, SUFFIXES, "onnx")
    from benchmark.workflows.winner import find_winner

    run, why = find_winner(requested, lambda: load(config, assignments), config, from_select)
    click.echo(f"exporting {run.name}, {why}", err=True)

    from benchmark.export.export import export as export_run

    suffix = next(suffix for suffix, name in SUFFIXES.items() if name == form)
    path = output or Path(f"{run.record.spec.name.replace('/', '-')}{suffix}")
    checked = export_run(run, form, path, maximum)
    if run.record.spec.precision != "float32":
        click.echo(f"trained in {run.record.spec.precision}, exported in float32", err=True)
    how = ", re-parameterized" if checked.deployed else ""
    written = path if is_file(path) else "standard output"
    click.echo(
        f"written to {written}{how}: same class for {checked.images:,} {checked.of}, "
        f"probabilities within {checked.largest_difference:.1e}",
        err=True,
    )
