"""`bench cost`: count parameters, MACs and FLOPs of architectures without training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.commands.options import (
    format_option,
    load,
    notify,
    output_format,
    output_option,
    study_options,
)
from benchmark.terminal.output_file import is_file, write_output, writing

if TYPE_CHECKING:
    from benchmark.workflows.cost_table import Costed
    from clothclf.cost.count import CostRequest

SUFFIXES = {".md": "md", ".csv": "csv", ".json": "json"}


@click.command()
@click.argument("architectures", nargs=-1)
@study_options
@click.option("--image-size", type=click.IntRange(8), help="Input height and width in pixels.")
@click.option("--num-classes", type=click.IntRange(1), help="Number of output classes.")
@click.option("--detail", is_flag=True, help="Also list all modules with their share of the MACs.")
@click.option("--measure", is_flag=True, help="Also measure time and memory, about 20 s each.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Device for --measure: auto, cpu, cuda, cuda:1, mps.",
)
@click.option("--all-timm", is_flag=True, help="Count all timm models into the CSV file of -o.")
@click.option("--quick", is_flag=True, help="Use only torch's counter, with --all-timm.")
@format_option(["table", *SUFFIXES.values()], "table, or md for a file")
@output_option
@click.pass_context
def cost(
    ctx: click.Context,
    architectures: tuple[str, ...],
    config: Path,
    assignments: tuple[str, ...],
    image_size: int | None,
    num_classes: int | None,
    detail: bool,
    measure: bool,
    device: str,
    all_timm: bool,
    quick: bool,
    form: str | None,
    output: Path | None,
) -> None:
    """Count parameters, MACs and FLOPs of ARCHITECTURES.

    Counts timm's own networks, each with its default input size and classifier. With -c, counts
    them as that study would train them: with its heads, classes and input size. Without names,
    counts the architectures of the study.

    MACs are multiply-adds of one forward pass of one image; FLOPs are 2 x MACs. Networks that can
    be re-parameterized for inference are counted and timed in that form, marked (d). Their training
    form is described below the table; the other counters and --detail show the training form. The
    counts of flopth and fvcore are listed with their relative difference; (!) marks more than 2 %,
    and the verdict says whether the difference is explained. Counting needs no accelerator.
    --measure times forward passes and measures the memory of a training step on the device, which
    should be idle otherwise.

    \b
    Examples:
      bench cost -c configs/fashion.yaml
      bench cost resnet18 'mobilenetv3_*_100' --image-size 112
      bench cost vit_tiny_patch16_224 --detail
      bench cost resnet18 vgg16 --measure --device cpu
      bench cost --all-timm -o costs.csv
    """
    written = output_format(form, output, SUFFIXES, "md" if is_file(output) else "table")
    if all_timm:
        if architectures or measure or written != "csv" or output is None:
            raise click.UsageError(
                "--all-timm requires -o FILE.csv, and takes neither ARCHITECTURES nor --measure"
            )
        _count_all_of_timm(output, quick)
        return

    from benchmark.workflows.cost_table import count_all
    from clothclf.cost.measure.request import known_device

    measure_on = known_device(device) if measure else None
    by_default = ctx.get_parameter_source("config") is click.core.ParameterSource.DEFAULT
    study = None if architectures and by_default and not assignments else config
    requests = _requests(architectures, study, assignments, image_size, num_classes)
    costs, errors = count_all(requests, notify, measure_on)
    _write(written, output, costs, errors)
    if detail:
        _show_detail(requests, errors)
    for error in errors.values():
        click.echo(f"bench: {error}", err=True)
    ctx.exit(1 if errors else 0)


def _requests(
    architectures: tuple[str, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    image_size: int | None,
    num_classes: int | None,
) -> list[CostRequest]:
    """Request the architectures as the study trains them, or without a study as timm does."""
    from benchmark.workflows.cost_table import plain_requests, study_requests

    if config is None:
        return plain_requests(architectures, image_size, num_classes)
    if image_size is not None:
        assignments = (*assignments, f"data.image_size={image_size}")
    return study_requests(load(config, assignments), architectures, num_classes)


def _count_all_of_timm(output: Path, quick: bool) -> None:
    from benchmark.workflows.cost_table import count_all_of_timm
    from clothclf.data.atomic import regular_file

    # Written in place, so that an interrupted count keeps its rows.
    with writing(output, regular_file) as file:
        rows, counted = count_all_of_timm(file, os.cpu_count() or 1, quick, notify)
    notify(f"{counted} of {rows} architectures have a figure")


def _write(
    form: str, output: Path | None, counted: Sequence[Costed], errors: dict[str, str]
) -> None:
    from benchmark.report import measured
    from benchmark.terminal.output import make_console, print_table
    from benchmark.workflows import cost_table

    if form == "csv":
        write_output(cost_table.as_csv(counted, errors), output)
    elif form == "json":
        write_output(cost_table.as_json(counted, errors), output)
    elif form == "md":
        write_output(cost_table.as_markdown(counted), output)
    elif counted:
        console = make_console(stderr=False)
        costs = [item.cost for item in counted]
        print_table(console, cost_table.COLUMNS, [cost_table.cells(item) for item in costs])
        for line in cost_table.reasons(costs):
            click.echo(line)
        for under, rows in measured.by_conditions(cost_table.measured_rows(counted)).items():
            title = f"measured on {under}"
            print_table(console, measured.COLUMNS, [measured.cells(*row) for row in rows], title)
            for line in measured.busy_notes(rows):
                click.echo(line)


def _show_detail(requests: Sequence[CostRequest], errors: dict[str, str]) -> None:
    from benchmark.terminal.output import make_console, print_table
    from benchmark.workflows.cost_table import DETAIL_COLUMNS, detail_cells
    from clothclf.cost.detail import module_tree

    for request in requests:
        if request.architecture not in errors:
            rows = [detail_cells(row) for row in module_tree(request)]
            print_table(
                make_console(stderr=False), DETAIL_COLUMNS, rows, title=request.architecture
            )
