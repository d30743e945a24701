"""`bench register`: register a trained run in the MLflow model registry."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import load, study_options, winner_options

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


@click.command()
@study_options
@winner_options
@click.option("--name", help="Name of the registered model  [default: the study's name]")
@click.option("--alias", help="Alias to set on the version, such as champion.")
def register(
    config: Path,
    assignments: tuple[str, ...],
    requested: str | None,
    from_select: bool,
    name: str | None,
    alias: str | None,
) -> None:
    """Register a trained run in the MLflow model registry.

    Registers the study's pick, or the run of --run, as a version of a model. Registering the same
    run again returns its existing version. To serve it, run `mlflow models serve -m
    models:/NAME@ALIAS --env-manager local`.

    \b
    Examples:
      bench register --alias champion
      bench register --run vgg16-s0 --name clothes
    """
    import re

    from benchmark.workflows.winner import find_winner

    for option, value in (("--name", name), ("--alias", alias)):
        if value is not None and not re.fullmatch(NAME, value):
            raise click.UsageError(
                f"{option}: {value[:100]!r} is not a valid name; use letters, digits, dots, - and _"
            )
    study = load(config, assignments)
    run, why = find_winner(requested, lambda: study, config, from_select)
    click.echo(f"registering {run.name}, {why}", err=True)

    from benchmark.workflows.register import register as register_run

    version = register_run(study, run, name or study.study, alias)
    state = "is new" if version.new else "already exists"
    click.echo(f"{version.uri}: version {version.version} of {version.name} {state}")
