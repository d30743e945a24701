"""`bench deploy`: measure the accuracy and cost of a run's exported and quantized variants."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.commands.options import (
    Number,
    format_option,
    load,
    margin_option,
    notify,
    output_format,
    output_option,
    study_options,
    winner_options,
)
from benchmark.terminal.output_file import is_file, write_output

if TYPE_CHECKING:
    from benchmark.deploy.deploy import DeployedRun, DeployOptions

SUFFIXES = {".md": "md", ".json": "json", ".csv": "csv"}


@click.command()
@study_options
@winner_options
@click.option("--all", "every", is_flag=True, help="Deploy all finished architectures.")
@click.option("--front", is_flag=True, help="Deploy all architectures on the Pareto front.")
@click.option(
    "--variant",
    "variants",
    multiple=True,
    metavar="NAME",
    help="Variant to measure, with those it is compared with; repeatable; all for every built-in "
    "one.  [default: torch, onnxruntime, onnxruntime-int8, openvino, openvino-int8]",
)
@click.option(
    "--max-drop",
    type=Number(0),
    metavar="N",
    help="Points of validation accuracy that int8 may lose in OpenVINO; layers that cost more "
    "stay in float32. Takes minutes.",
)
@click.option(
    "--threads", type=click.IntRange(1), metavar="N",
    help="Number of threads of each runtime  [default: all usable CPU cores]",
)  # fmt: skip
@click.option(
    "--device-name",
    metavar="NAME",
    help="Name of this machine in results  [default: local]",
)
@click.option(
    "--kit",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Pack the measured variants into a zip file that measures them on another device.",
)
@click.option(
    "--kit-images",
    type=click.Choice(["drawn", "real"]),
    default="drawn",
    show_default=True,
    help="Images in the kit: drawn ones, or test images of your data.",
)
@click.option(
    "--add",
    "results",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Add the result of a kit, and measure nothing; repeatable.",
)
@click.option("--log", "log", is_flag=True, help="Also log results and files to MLflow.")
@margin_option
@format_option(["table", *SUFFIXES.values()], "table, or md for a file")
@output_option
@click.pass_context
def deploy(
    ctx: click.Context,
    config: Path,
    assignments: tuple[str, ...],
    requested: str | None,
    from_select: bool,
    every: bool,
    front: bool,
    variants: tuple[str, ...],
    max_drop: float | None,
    threads: int | None,
    device_name: str | None,
    kit: Path | None,
    kit_images: str,
    results: tuple[Path, ...],
    log: bool,
    margin: float,
    form: str | None,
    output: Path | None,
) -> None:
    """Measure accuracy and cost of a run as it is deployed.

    Builds variants of the study's pick (or of --run, --all, --front): torch, ONNX Runtime and
    OpenVINO, in float32 and int8. Each is measured in its own process on all test images:
    accuracy, paired with the run's float32; latency with and without decoding; throughput, load
    time, memory and file size. Needs the extra `deploy`. int8 is calibrated on training images.

    --kit packs the files, some images and a script that needs only numpy and onnxruntime; run it
    on the device, and add its result with --add. The exit code is 1 if variants were skipped.

    \b
    Examples:
      bench deploy
      bench deploy --run efficientnet_b0-s0 --variant onnxruntime-int8 --threads 1
      bench deploy --front -c configs/fashion.yaml --set data.path=archive.zip -o deployed.md
      bench deploy --kit kit.zip
      bench deploy --add result.json
    """
    if sum((every, front, requested is not None, from_select)) > 1:
        raise click.UsageError("give only one of --run, --from-select, --all and --front")
    if results and (kit is not None or variants):
        raise click.UsageError("--add measures nothing: remove --kit and --variant")
    form = output_format(form, output, SUFFIXES, "md" if is_file(output) else "table")
    from benchmark.workflows import deploy_runs

    study = load(config, assignments)
    if results:
        runs = deploy_runs.add_results(study, results, notify)
    else:
        options = _options(variants, max_drop, device_name, threads)
        which = "all" if every else "front" if front else "pick"
        finished = deploy_runs.find_runs(study, config, requested, from_select, which, notify)
        runs = deploy_runs.deploy_all(finished, options, notify)
    if kit is not None:
        deploy_runs.write_kit(runs, kit, kit_images, notify)
    if log:
        deploy_runs.log_runs(study, runs)
    _write(form, output, runs, margin / 100)
    ctx.exit(1 if any(run.skipped for run in runs) else 0)


def _options(
    variants: tuple[str, ...], max_drop: float | None, device_name: str | None, threads: int | None
) -> DeployOptions:
    from benchmark.deploy.build_variant import BuildOptions
    from benchmark.deploy.deploy import DeployOptions
    from benchmark.deploy.variants import choose_variants
    from benchmark.runs.deployments import HERE
    from benchmark.workflows.deploy_runs import checked_name

    name = checked_name(device_name or HERE)
    return DeployOptions(choose_variants(variants), BuildOptions(max_drop), name, threads)


def _write(form: str, output: Path | None, runs: list[DeployedRun], margin: float) -> None:
    from benchmark.deploy import variant_tables
    from benchmark.terminal.output import make_console, print_table

    if form == "table":
        console = make_console(stderr=False)
        for title, columns, rows in variant_tables.tables(runs, margin):
            print_table(console, columns, rows, title)
        for line in variant_tables.sentences(runs, margin):
            console.print(line)
        return
    writers = {
        "md": variant_tables.as_markdown,
        "json": variant_tables.as_json,
        "csv": variant_tables.as_csv,
    }
    write_output(writers[form](runs, margin), output)
