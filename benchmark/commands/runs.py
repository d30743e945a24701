"""`bench runs`: list and delete the runs of a study."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.commands.options import load, study_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmark.workflows.manage_runs import ListedRun

COLUMNS = ("name", "run_id", "state", "accuracy", "date (UTC)", "settings that differ")


@click.group()
def runs() -> None:
    """List or delete the runs of a study."""


@runs.command("list")
@study_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Output format.",
)
def list_command(config: Path, assignments: tuple[str, ...], form: str) -> None:
    """List the runs of a study, with any settings.

    Includes finished, failed, running and unfinished runs.

    \b
    Examples:
      bench runs list
      bench runs list -c configs/fashion.yaml --format json
    """
    from benchmark.workflows.manage_runs import list_runs

    listed = list_runs(load(config, assignments))
    if form == "json":
        click.echo(json.dumps([_values(run) for run in listed], indent=1, ensure_ascii=False))
    else:
        _print(listed)


@runs.command("delete")
@click.argument("names", nargs=-1, metavar="[RUN]...")
@study_options
@click.option("--failed", is_flag=True, help="Delete all failed runs of the study.")
@click.option("--yes", is_flag=True, help="Delete without asking for confirmation.")
def delete_command(
    names: tuple[str, ...], config: Path, assignments: tuple[str, ...], failed: bool, yes: bool
) -> None:
    """Delete runs with their models, here and in MLflow.

    RUN is a run_id or a prefix of it, or a name such as vgg16-s0 if the study has only one run of
    that name. Artifacts are deleted, too. To confirm, type the name of the run, or of the study
    for several runs. Runs that are running or needed by the model registry are refused.

    \b
    Examples:
      bench runs delete vgg16-s0
      bench runs delete 0f3a 9c41 --yes
      bench runs delete --failed -c configs/fashion.yaml
    """
    from benchmark.errors import StoreError
    from benchmark.workflows.manage_runs import delete_runs, find_listed, list_runs

    if bool(names) == failed:
        raise click.UsageError("give the runs to delete, or --failed")
    study = load(config, assignments)
    listed = list_runs(study)
    if failed:
        chosen = [run for run in listed if run.state == "failed"]
    else:
        selected = [find_listed(name, listed, study.study) for name in names]
        chosen = list({run.run_id: run for run in selected}.values())
    if not chosen:
        click.echo(f"study {study.study} has no failed runs")
        return
    if not yes:
        _print(chosen)
        expected = chosen[0].name if len(chosen) == 1 else study.study
        try:
            typed = click.prompt(
                f"This cannot be undone. Type {expected} to delete", type=str, err=True
            )
        except click.Abort:
            raise StoreError(
                "not confirmed; nothing was deleted (--yes skips the confirmation)"
            ) from None
        if typed.strip() != expected:
            raise StoreError(
                f"not confirmed: {typed[:80]!r} is not {expected}; nothing was deleted"
            )
    delete_runs(study, chosen)
    for run in chosen:
        click.echo(f"deleted {run.title}")


def _print(listed: Sequence[ListedRun]) -> None:
    from benchmark.terminal.output import make_console, print_table

    rows = [
        [
            run.name,
            run.run_id,
            run.state,
            "-" if run.accuracy is None else f"{100 * run.accuracy:.2f} %",
            run.at[:16].replace("T", " "),
            run.settings or "-",
        ]
        for run in listed
    ]
    print_table(make_console(stderr=False), COLUMNS, rows, drop_first=("date (UTC)",))


def _values(run: ListedRun) -> dict[str, object]:
    values = {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}
    return {**values, "folder": str(run.folder.path)}
