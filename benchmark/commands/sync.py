"""`bench sync`: log run folders that are missing in MLflow."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import load, study_options


@click.command()
@study_options
def sync(config: Path, assignments: tuple[str, ...]) -> None:
    """Log runs that are missing in the MLflow store.

    Restores a store that was unreachable during runs, or was lost. Logs runs, curves, figures and
    files from the run folders, each once, and removes duplicates. Trains nothing.

    \b
    Examples:
      bench sync
      bench sync -c configs/fashion.yaml --set tracking.uri=http://127.0.0.1:5000
    """
    from benchmark.workflows.sync import sync_store

    study = load(config, assignments)
    logged, known = sync_store(study)
    click.echo(f"{logged} runs logged, {known} already logged")
