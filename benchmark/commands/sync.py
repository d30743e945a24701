"""`bench sync`: bring MLflow up to what the run folders hold."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import load, study_options


@click.command()
@study_options
def sync(config: Path, assignments: tuple[str, ...]) -> None:
    """Log to MLflow what run folders hold and the store lacks.

    For a store that was away while runs went on, or that was lost: runs, curves, figures and files
    come from the folders, each once, and what stands there twice is removed. Nothing is trained.

    \b
    Examples:
      bench sync
      bench sync -c configs/fashion.yaml --set tracking.uri=http://127.0.0.1:5000
    """
    from benchmark.workflows.sync import sync_store

    study = load(config, assignments)
    brought, known = sync_store(study)
    click.echo(f"{brought} runs logged, {known} were there")
