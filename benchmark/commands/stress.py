"""`bench stress`: predict the test images again under standard corruptions."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import load, notify, study_options, tuned_option
from clothclf.data.corruption_names import CORRUPTIONS, SEVERITIES


@click.command()
@click.argument("architectures", nargs=-1, metavar="[ARCHITECTURE]...")
@study_options
@tuned_option
@click.option("--front", is_flag=True, help="Only stress architectures on the Pareto front.")
@click.option(
    "--corruption",
    "corruptions",
    multiple=True,
    type=click.Choice(CORRUPTIONS),
    metavar="NAME",
    help=f"Corruption to apply, repeatable: {', '.join(CORRUPTIONS)}.  [default: all]",
)
@click.option(
    "--severity",
    "severities",
    multiple=True,
    type=click.IntRange(SEVERITIES[0], SEVERITIES[-1]),
    metavar="N",
    help="Severity from 1 to 5, repeatable.  [default: all]",
)
@click.option("--log", is_flag=True, help="Also log the accuracies to MLflow.")
@click.pass_context
def stress(
    ctx: click.Context,
    architectures: tuple[str, ...],
    config: Path,
    assignments: tuple[str, ...],
    front: bool,
    corruptions: tuple[str, ...],
    severities: tuple[int, ...],
    log: bool,
) -> None:
    """Measure accuracy on corrupted test images.

    Finished runs predict the test images again under corruptions such as noise, blur and
    compression, with names and strengths of ImageNet-C. Nothing is trained. Results are stored
    beside the runs; `bench report` shows them, and whether the pick holds. An interrupted command
    resumes.

    ARCHITECTURE is the name of a finished architecture of the study, or a wildcard; all by
    default, one seed of each.

    \b
    Examples:
      bench stress
      bench stress --severity 3 --corruption motion_blur --corruption jpeg_compression
      bench stress --front -c configs/fashion.yaml --set data.path=archive.zip --log
    """
    from benchmark.report.write import read_report
    from benchmark.terminal.output import make_console
    from benchmark.terminal.report_view import print_section
    from benchmark.workflows import stress_runs

    study = load(config, assignments)
    runs = stress_runs.find_runs(study, config, architectures, front)
    conditions = [
        (corruption, severity)
        for corruption in corruptions or CORRUPTIONS
        for severity in sorted(set(severities)) or SEVERITIES
    ]
    failed = stress_runs.stress_all(runs, list(dict.fromkeys(conditions)), notify)
    if log:
        stress_runs.log_runs(study, runs)
    print_section("stress", read_report(study, config).analyses[0], make_console(stderr=False))
    ctx.exit(1 if failed else 0)
