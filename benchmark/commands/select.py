"""`bench select`: find the best of many architectures within a time budget."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import click

from benchmark.commands.options import (
    OUTPUT,
    Number,
    load,
    prefer_option,
    study_options,
    tune_option,
)

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


@click.command()
@click.argument("patterns", nargs=-1)
@study_options
@tune_option
@click.option(
    "--budget", required=True, metavar="TIME", help="Time budget, such as 30m, 2h or 1h30m."
)
@click.option(
    "--max-gmacs",
    type=Number(0),
    help="Maximum GMACs; short for --set selection.max_gmacs=N.",
)
@click.option(
    "--max-params",
    type=Number(0),
    help="Maximum parameters in millions; short for --set selection.max_params=N.",
)
@click.option(
    "--finalists",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="Maximum number of finalists, which are trained at the end.",
)
@click.option(
    "--final",
    type=click.Choice(["auto", "finetune", "study"]),
    default="auto",
    show_default=True,
    help="Training of finalists: fine-tuned, or as in the study. auto fine-tunes if pretrained "
    "weights are available.",
)
@click.option(
    "--check-sample",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Also train N random candidates in full, and report how well the ranking agrees.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Maximum number of concurrent runs; fine-tuned networks need at least 4 CPU cores each.",
)
@click.option("--retry-failed", is_flag=True, help="Retry runs that failed before.")
@click.option("--dry-run", is_flag=True, help="Print the schedule and exit.")
@prefer_option
@click.option("-o", "--output", type=OUTPUT, help="Also write the result to a .md or .json file.")
@click.pass_context
def select(
    ctx: click.Context,
    /,
    patterns: tuple[str, ...],
    config: Path,
    assignments: tuple[str, ...],
    budget: str,
    max_gmacs: float | None,
    max_params: float | None,
    finalists: int,
    final: Literal["auto", "finetune", "study"],
    check_sample: int,
    workers: int,
    retry_failed: bool,
    dry_run: bool,
    prefer: Literal["balance", "accuracy", "speed", "size"],
    output: Path | None,
) -> None:
    """Find the best of many architectures within a time budget.

    PATTERNS are timm model names or wildcards [default: all of the config]. Uses successive
    halving: candidates start with cheap probes, which train heads on frozen backbones with few
    images; the better half continues with more images and epochs, and so on. The finalists are
    trained fully. Only validation accuracy decides. Run the same command to resume an interrupted
    selection; the result is the same. Failed candidates are dropped with the reason. The exit code
    is 0 with a winner, 1 without, 2 for invalid input, 130 after Ctrl-C.

    \b
    Examples:
      bench select --budget 30m --max-gmacs 1 'efficientnet*' 'resnet*' 'mobilenet*'
      bench select --budget 2h --check-sample 8 -o selection.md '*'
      bench select --budget 15m --dry-run 'vit_*'
    """
    seconds = _seconds(budget)
    limits = {"selection.max_gmacs": max_gmacs, "selection.max_params": max_params}
    shorthands = tuple(f"{key}={value}" for key, value in limits.items() if value is not None)
    study = load(config, (*assignments, *shorthands))

    from benchmark.report.pick_rule import Criteria
    from benchmark.select.execution import Options
    from benchmark.select.select import run_selection
    from benchmark.select.selection_state import Request

    request = Request(
        patterns=patterns,
        budget_s=seconds,
        finalists=finalists,
        final=final,
    )
    criteria = Criteria(prefer=prefer)
    sets = [part for text in assignments for part in ("--set", text)]
    arguments = ("-c", str(config), *sets)
    options = Options(workers, retry_failed, dry_run, check_sample, output, criteria, arguments)
    ctx.exit(run_selection(study, request, options))


def _seconds(text: str) -> float:
    """Convert a time such as 1h30m to seconds; raises SelectError if it is invalid."""
    from benchmark.errors import SelectError

    parts = re.findall(r"(\d{1,6}(?:\.\d{1,6})?)([hms])", text)
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not seconds:
        raise SelectError(
            f"--budget {text[:40]!r}: invalid duration; use a value such as 30m, 2h or 1h30m"
        )
    return seconds
