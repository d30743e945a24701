"""`bench doctor`: is everything there that a study needs?"""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import load, study_options


@click.command()
@study_options
@click.pass_context
def doctor(ctx: click.Context, config: Path, assignments: tuple[str, ...]) -> None:
    """Check that everything a study needs is there.

    Looks at installation, device, memory, disk, store, runs, data and weights. Nothing is trained
    and nothing decoded. The exit code is 1 if something has to be mended first.

    \b
    Examples:
      bench doctor
      bench doctor -c configs/fashion.yaml --set data.path=archive.zip
    """
    from benchmark.terminal.output import make_console, print_table
    from benchmark.workflows.doctor import examine

    findings = examine(load(config, assignments))
    rows = [[item.what, item.state, item.found, item.remedy] for item in findings]
    print_table(make_console(stderr=False), ("what", "state", "found", "what to do"), rows)
    ctx.exit(1 if any(item.state == "fault" for item in findings) else 0)
