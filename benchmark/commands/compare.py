"""`bench compare`: compare two runs or two studies, and optionally fail CI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.commands.options import (
    format_option,
    load,
    margin_option,
    output_format,
    output_option,
    study_options,
    tuned_option,
)
from benchmark.terminal.output_file import is_file, write_output

if TYPE_CHECKING:
    from benchmark.compare.compare import Compared
    from benchmark.compare.fail_if import Judgement

SUFFIXES = {".md": "md", ".json": "json"}


@click.command()
@click.argument("baseline")
@click.argument("new")
@study_options
@tuned_option
@click.option(
    "--fail-if",
    "fail_if",
    multiple=True,
    metavar="CONDITION",
    help="Exit with code 1 if NEW is worse by more than CONDITION; repeatable.",
)
@click.option("--certain", is_flag=True, help="Fail on a drop only if its interval excludes zero.")
@click.option(
    "--unpaired", is_flag=True, help="Compare runs with different test sets as independent samples."
)
@margin_option
@format_option(["table", *SUFFIXES.values()], "table, or md for a file")
@output_option
@click.pass_context
def compare(
    ctx: click.Context,
    baseline: str,
    new: str,
    config: Path,
    assignments: tuple[str, ...],
    fail_if: tuple[str, ...],
    certain: bool,
    unpaired: bool,
    margin: float,
    form: str | None,
    output: Path | None,
) -> None:
    """Compare two runs, or two studies: NEW against BASELINE.

    Name a run by its run_id or a prefix of it, its name, such as vgg16-s0, or its folder. If
    several runs have the name, the run with the settings of -c and --set is used. Name a study by
    its config file; --set then applies to both. The output gives the difference in accuracy with
    its 95 % interval and paired tests, the ratios of costs, and every setting that differs.
    Different test sets are refused without --unpaired.

    \b
    Conditions of --fail-if (scores in points, costs in percent):
      accuracy drops 0.5      macro-f1 drops 1
      accuracy not within 0.5 (unless a larger drop is excluded with 95 % confidence)
      macs rise 10 %          params rise 10 %         latency rises 20 %

    \b
    Exit codes: 0 no condition is met, 1 a condition is met, 2 the comparison
    fails or a condition cannot be evaluated.

    \b
    Examples:
      bench compare vgg16-s0 efficientnet_b0-s0 -c configs/fashion.yaml --set data.path=archive.zip
      bench compare 0f3a 9c41 -o change.md
      bench compare configs/demo.yaml larger-head.yaml --fail-if "macro-f1 drops 1" --certain
      bench compare baseline/ 9c41 --fail-if "accuracy drops 0.5" --fail-if "macs rise 10 %"
    """
    from benchmark.compare.fail_if import judge, read_condition
    from benchmark.errors import ReportError

    written = output_format(form, output, SUFFIXES, "md" if is_file(output) else "table")
    conditions = [read_condition(text) for text in fail_if]
    if certain and not conditions:
        raise click.UsageError("--certain requires --fail-if")
    compared = _compare((baseline, new), config, assignments, unpaired, margin / 100)
    judgement = judge(conditions, compared, certain)
    _write(written, output, compared, judgement)
    for sentence in judgement.held:
        click.echo(f"bench: {sentence}", err=True)
    if judgement.missing:
        raise ReportError("\n".join(judgement.missing))
    ctx.exit(1 if judgement.held else 0)


def _compare(
    requested: tuple[str, str],
    config: Path,
    assignments: tuple[str, ...],
    unpaired: bool,
    margin: float,
) -> Compared:
    from benchmark.compare.compare import compare_runs, compare_studies
    from benchmark.errors import ReportError
    from benchmark.runs.find import find_run

    studies = [_is_study(name) for name in requested]
    if all(studies):
        baseline, new = ((name, load(Path(name), assignments)) for name in requested)
        return compare_studies(baseline, new, unpaired, margin)
    if any(studies):
        raise ReportError(
            f"{requested[0]} and {requested[1]}: one is a study config, the other a "
            "run; give two runs or two configs"
        )
    first, second = (find_run(name, lambda: load(config, assignments)) for name in requested)
    return compare_runs(first, second, unpaired, margin)


def _is_study(name: str) -> bool:
    """Whether a name is a config file; `load` reports a missing one."""
    try:
        return name.endswith((".yaml", ".yml")) or Path(name).is_file()
    except OSError:  # the name is too long
        return False


def _write(form: str, output: Path | None, compared: Compared, judgement: Judgement) -> None:
    from benchmark.compare import comparison_text as compare_formats
    from benchmark.terminal.output import make_console, print_table

    if form == "json":
        write_output(compare_formats.as_json(compared, judgement), output)
    elif form == "md":
        write_output(compare_formats.as_markdown(compared, judgement), output)
    else:
        console = make_console(stderr=False)
        for part in compare_formats.parts(compared):
            if isinstance(part, str):
                console.print(part)
            else:
                print_table(console, part.columns, part.rows, part.title)
