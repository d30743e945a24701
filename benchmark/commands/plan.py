"""`bench plan`: estimate the time and memory of a study before running it."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import load, selection_options, study_options, tune_option


@click.command()
@click.argument("architectures", nargs=-1)
@study_options
@selection_options
@tune_option
@click.pass_context
def plan(
    ctx: click.Context, architectures: tuple[str, ...], config: Path, assignments: tuple[str, ...]
) -> None:
    """Estimate time and memory of runs by probing a few steps.

    Probes ARCHITECTURES, or all of the config. Time is from the start of a run's process to its
    record, without early stopping. Peak memory is the maximum resident memory of that process. It
    includes decoded images and cached features, which are memory-mapped files that the system can
    evict; a run does not fit if its remaining memory exceeds the available memory. The last line
    says how many runs are finished, and the time that the others take. The exit code is 1 if a run
    cannot be started or does not fit.

    \b
    Examples:
      bench plan
      bench plan vgg16 -c configs/finetune.yaml --set data.path=archive.zip
    """
    from benchmark.workflows.plan_study import show_plan

    ctx.exit(show_plan(load(config, assignments), architectures))
