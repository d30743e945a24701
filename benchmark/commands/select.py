"""`bench select`: choose among many architectures within a time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import click

from benchmark.commands.options import OUTPUT, Number, load, study_options

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


@click.command()
@click.argument("patterns", nargs=-1)
@study_options
@click.option("--budget", required=True, metavar="TIME", help="Such as 30m, 2h or 1h30m.")
@click.option(
    "--max-gmacs",
    type=Number(0),
    help="Short for --set selection.max_gmacs=N (10^9 MACs).",
)
@click.option("--max-params", type=Number(0), help="Short for --set selection.max_params=N (10^6).")
@click.option(
    "--finalists",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="Trained at the end, at most.",
)
@click.option(
    "--final",
    type=click.Choice(["auto", "finetune", "study"]),
    default="auto",
    show_default=True,
    help="How finalists are trained; auto fine-tunes what has weights to begin with.",
)
@click.option(
    "--check-sample",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Train N of all in full, too, and say how far the order agrees.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True)
@click.option("--retry-failed", is_flag=True, help="Try again what failed before.")
@click.option("--dry-run", is_flag=True, help="Print the schedule and stop.")
@click.option(
    "--prefer",
    type=click.Choice(["balance", "accuracy", "speed", "size"]),
    default="balance",
    show_default=True,
    help="What the pick among the finalists weighs accuracy against.",
)
@click.option("-o", "--output", type=OUTPUT, help="Also write the answer to a .md or .json file.")
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

    PATTERNS are timm names or wildcards; without, it is all of the config. Successive halving: all
    begin with cheap probes, heads on frozen backbones with few images; the better half goes on with
    more images and epochs, and so on; the last are trained in earnest. Validation accuracy alone
    decides. The same command goes on where it was stopped, and comes to the same answer. What
    fails is dropped, with its reason. The exit code is 0 with a winner, 1 without, 2 for bad
    input, 130 after Ctrl-C.

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

    from benchmark.report.pick import Criteria
    from benchmark.select.options import Options
    from benchmark.select.run import run_selection
    from benchmark.select.selection import Request

    request = Request(
        patterns=patterns,
        budget_s=seconds,
        finalists=finalists,
        final=final,
    )
    criteria = Criteria(prefer=prefer)
    sets = [part for text in assignments for part in ("--set", text)]
    asked = ("-c", str(config), *sets)
    options = Options(workers, retry_failed, dry_run, check_sample, output, criteria, asked)
    ctx.exit(run_selection(study, request, options))


def _seconds(text: str) -> float:
    """A time such as 1h30m in seconds; raises SelectError."""
    from benchmark.errors import SelectError

    parts = re.findall(r"(\d{1,6}(?:\.\d{1,6})?)([hms])", text)
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not seconds:
        raise SelectError(f"--budget {text[:40]!r}: write a time such as 30m, 2h or 1h30m")
    return seconds
