"""`bench doctor`: check the requirements of a study."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import load, study_options


@click.command()
@study_options
@click.pass_context
def doctor(ctx: click.Context, config: Path, assignments: tuple[str, ...]) -> None:
    """Check that a study has everything it needs.

    Checks installation, device, memory, disk, store, runs, data and weights. Trains nothing and
    decodes no images. The exit code is 1 if a problem must be fixed before the study can run.

    \b
    Examples:
      bench doctor
      bench doctor -c configs/fashion.yaml --set data.path=archive.zip
    """
    from benchmark.terminal.output import make_console, print_table
    from benchmark.workflows.doctor import run_checks

    results = run_checks(load(config, assignments))
    rows = [[item.check, item.state, item.result, item.remedy] for item in results]
    print_table(make_console(stderr=False), ("check", "state", "result", "remedy"), rows)
    ctx.exit(1 if any(item.state == "error" for item in results) else 0)
