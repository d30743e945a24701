"""`bench report`: compare the runs of a study and pick an architecture."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from benchmark.commands.options import (
    DEFAULT_CONFIG,
    RECIPE,
    Number,
    format_option,
    from_select_option,
    load,
    margin_option,
    output_format,
    output_option,
    prefer_option,
    study_options,
    tuned_option,
)
from benchmark.report.formats import FORMATS
from benchmark.terminal.output_file import write_output

if TYPE_CHECKING:
    from benchmark.report.pick_rule import Criteria
    from benchmark.report.write import Report

SUFFIXES = {item.suffix: item.name for item in FORMATS.values()}
NEXT = ("report -o report.html", "ui", "deploy")
"""Follow-up commands, if they exist."""
MAX_SHOWN = 20
"""Maximum number of differences that `--check` prints."""


@click.command()
@study_options
@tuned_option
@format_option(list(SUFFIXES.values()), "md")
@output_option
@click.option(
    "--max-gmacs",
    type=Number(0),
    metavar="N",
    help="Only pick models with at most N GMACs (10^9 MACs).",
)
@click.option(
    "--max-params",
    type=Number(0),
    metavar="N",
    help="Only pick models with at most N million parameters.",
)
@click.option(
    "--max-latency-ms",
    type=Number(0),
    metavar="N",
    help="Only pick models with at most N ms latency.",
)
@click.option(
    "--min-accuracy",
    type=Number(0, 1),
    help="Minimum accuracy of the pick on the split of --choose-on, 0 to 1.",
)
@prefer_option
@click.option(
    "--cost",
    type=click.Choice(["macs", "latency", "params", "memory", "price"]),
    default="macs",
    show_default=True,
    help="Cost that --prefer balance weighs against accuracy; price needs --price-per-hour.",
)
@click.option(
    "--target",
    metavar="DEVICE",
    help="Use latency, throughput and memory on this device, as `bench deploy` measured them.",
)
@click.option(
    "--price-per-hour",
    type=Number(0, min_open=True),
    metavar="N",
    help="Price of an hour on that device, for the price of a million images.",
)
@click.option(
    "--points-per-10x",
    type=Number(0),
    default=2.0,
    show_default=True,
    metavar="N",
    help="Points of accuracy that each 10x increase in --cost must gain.",
)
@click.option(
    "--max-drop",
    type=Number(0),
    default=2.0,
    show_default=True,
    metavar="N",
    help="Points of accuracy that --prefer speed and size may lose to the most accurate.",
)
@click.option(
    "--choose-on",
    type=click.Choice(["validation", "test"]),
    default="validation",
    show_default=True,
    help="Split whose accuracies choose; test reproduces published practice.",
)
@margin_option
@click.option(
    "--front",
    default="accuracy,macs",
    show_default=True,
    metavar="GAIN,COST",
    help="Two columns of the Pareto front: a metric (such as accuracy, f1, auroc), macs, params, "
    "latency, throughput, memory, time, price. An unknown name lists all of them.",
)
@click.option(
    "--by",
    "by",
    multiple=True,
    metavar="COLUMN",
    help="Also report accuracy by the values of a column of the data, or by brightness, sharpness, "
    "background or size of the images; repeatable.",
)
@click.option("--plots", type=click.Path(path_type=Path), help="Also write plots to this folder.")
@click.option(
    "--no-images", is_flag=True, help="Do not include images of the data in the HTML report."
)
@click.option("--no-pictures", is_flag=True, hidden=True, deprecated="use --no-images")
@click.option(
    "--check", "checked", type=click.Path(path_type=Path), help="Check a report against the store."
)
@from_select_option
@click.option("--log", "log", is_flag=True, help="Also log report, plots and table to MLflow.")
@click.pass_context
def report(
    ctx: click.Context,
    /,
    config: Path,
    assignments: tuple[str, ...],
    form: str | None,
    output: Path | None,
    by: tuple[str, ...],
    plots: Path | None,
    no_images: bool,
    no_pictures: bool,
    checked: Path | None,
    log: bool,
    from_select: bool,
    **criteria_met: Any,
) -> None:
    """Compare the runs of a study and pick an architecture.

    Reports accuracy with its uncertainty, and costs. A table contains only runs with the same data
    and protocol; failed and unfinished runs are listed with their reason. Limits such as
    --max-gmacs filter the pick, not the table. A terminal shows the pick and the table; a pipe or
    --format md gets the whole report as Markdown.

    --check FILE recomputes every number of a report that was written with the same options, prints
    those that differ, and exits with code 1 if there are any.

    \b
    Examples:
      bench report
      bench report --max-gmacs 0.5 --prefer speed
      bench report -c configs/fashion.yaml --set data.path=archive.zip -o report.html
      bench report --plots plots --format csv -o report.csv
      bench report --by gender --by brightness -o report.html
      bench report --check report.md
      bench report --target laptop --price-per-hour 0.40 --cost price
    """
    from benchmark.select.finalists import report_or_finalists

    written = checked or output
    images = not (no_images or no_pictures)
    asked, form = form, output_format(form, written, SUFFIXES, "md")
    study = load(config, assignments)
    result, message = report_or_finalists(study, config, _criteria(**criteria_met), from_select)
    command = _command(ctx, config, assignments, by, from_select)
    result = dataclasses.replace(result, command=command).by(by)
    if message:
        click.echo(message, err=True)
    if checked is not None:
        ctx.exit(_check(result, checked, form, images))
    if plots is not None:
        _write_plots(result, plots)
    if asked is None and output is None and sys.stdout.isatty():
        _print(ctx, result)
    else:
        write_output(result.text(form, images), output)
    if log:
        from benchmark.workflows.publish import publish

        click.echo(f"logged as MLflow run {publish(result)}", err=True)


def _write_plots(report_: Report, folder: Path) -> None:
    from benchmark.report.charts.chart_files import write_plots

    for path in write_plots(report_.analyses[0], folder):
        click.echo(f"written to {path}", err=True)


def _print(ctx: click.Context, report_: Report) -> None:
    from benchmark.terminal.output import make_console
    from benchmark.terminal.report_view import print_report

    console = make_console(stderr=False)
    separator = " · " if console.encoding.startswith("utf") else ", "
    print_report(report_, console, _next_steps(ctx, separator))


def _next_steps(ctx: click.Context, separator: str) -> str:
    """Return the follow-up commands in one line."""
    root = ctx.find_root().command
    known = root.commands if isinstance(root, click.Group) else {}
    commands = [f"bench {command}" for command in NEXT if command.split()[0] in known]
    own = [ctx.get_parameter_source(name) for name in ("config", "assignments")]
    same = ", with the same -c and --set" if set(own) != {ParameterSource.DEFAULT} else ""
    return f"Next{same}: {separator.join(commands)}"


def _criteria(front: str, **limits: Any) -> Criteria:
    from benchmark.report.columns import COLUMNS
    from benchmark.report.pick_rule import Criteria
    from clothclf.errors import UserError, did_you_mean

    keys = tuple(key.strip() for key in front.split(","))
    for key in keys:
        if key not in COLUMNS:
            hint = did_you_mean(key, list(COLUMNS)) or f" (known: {', '.join(COLUMNS)})"
            raise UserError(f"--front {front}: unknown column {key!r}{hint}")
    if "price" in (*keys, limits["cost"]) and limits["price_per_hour"] is None:
        raise UserError("price: give the price of an hour with --price-per-hour")
    if len(keys) != 2:
        raise UserError(f"--front {front}: give two columns, such as accuracy,latency")
    return Criteria(front=(keys[0], keys[1]), **limits)


def _command(
    ctx: click.Context,
    config: Path,
    assignments: tuple[str, ...],
    by: tuple[str, ...],
    from_select: bool,
) -> str:
    """Command that makes the report again, without criteria and credentials."""
    from benchmark.config.credentials import without_password

    words = ["bench", "report"]
    if str(config) != DEFAULT_CONFIG:
        words += ["-c", str(config)]
    if recipe := ctx.meta.get(RECIPE):
        words += ["--recipe", recipe]
    for assignment in assignments:
        words += ["--set", without_password(assignment)]
    for column in by:
        words += ["--by", column]
    words += ["--from-select"] if from_select else []
    return shlex.join(words)


def _check(report_: Report, path: Path, form: str, images: bool) -> int:
    """Compare a written report with the store and return the exit code."""
    from benchmark.errors import ReportError
    from benchmark.report.check import count_numbers, differences

    try:
        written = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: cannot be read: {error}") from None
    different = differences(written, report_.text(form, images))
    for difference in different[:MAX_SHOWN]:
        click.echo(f"{path}, {difference}")
    if len(different) > MAX_SHOWN:
        click.echo(f"{path}: and {len(different) - MAX_SHOWN:,} more differences")
    if not different:
        click.echo(f"{path}: all {count_numbers(written):,} numbers match the store")
    return 1 if different else 0
