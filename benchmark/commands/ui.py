"""`bench ui`: serve the MLflow UI for the study's store."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import load, study_options


@click.command()
@study_options
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 for all network interfaces.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=5000,
    show_default=True,
    help="TCP port to listen on.",
)
def ui(config: Path, assignments: tuple[str, ...], host: str, port: int) -> None:
    """Serve the MLflow UI for the study's store.

    Prints the URLs of the study's comparison, as charts and as a table with test accuracy, MACs,
    latency and parameters, when the server is ready. On other pages of the runs, the menu "Views"
    has the same table.

    \b
    Example:
      bench ui --port 5001
    """
    from benchmark.tracking.ui import serve

    serve(load(config, assignments), host, port)
