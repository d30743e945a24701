"""`bench plan`: what a study will take, before it is begun."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import load, selection_options, study_options


@click.command()
@click.argument("architectures", nargs=-1)
@study_options
@selection_options
@click.pass_context
def plan(
    ctx: click.Context, architectures: tuple[str, ...], config: Path, assignments: tuple[str, ...]
) -> None:
    """Estimate time and memory of runs by probing a few steps.

    ARCHITECTURES are probed, or all of the config. Time is from the start of a run's process to
    its record, if no epoch is saved by stopping early. Peak memory is the largest resident memory
    of that process; decoded images and kept features are mapped files and count in it, but the
    system can take them back. A run whose other memory is more than there is will not fit. The
    exit code is 1 if a run cannot be begun or will not fit.

    \b
    Examples:
      bench plan
      bench plan vgg16 -c configs/finetune.yaml --set data.path=archive.zip
    """
    from benchmark.workflows.plan_study import show_plan

    ctx.exit(show_plan(load(config, assignments), architectures))
