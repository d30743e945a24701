"""`bench data fetch`: download a data set from Kaggle or the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from clothclf.data.fetch.download_folder import Fetched, Progress
    from clothclf.data.fetch.fashion import Origin

_PLAIN_LINE_EVERY_S = 5.0


@click.command()
@click.argument("name", metavar="fashion|OWNER/NAME")
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    default="data",
    show_default=True,
    help="Parent folder; the data set gets its own folder in it.",
)
@click.option(
    "--from",
    "origin",
    type=click.Choice(["auto", "hub", "kaggle"]),
    default="auto",
    show_default=True,
    help="Where to download from. auto: Kaggle, then the hub, for fashion; the hub for others.",
)
@click.option("--revision", help="Branch, tag or commit of a data set on the hub.")
def fetch(name: str, to: Path, origin: Origin, revision: str | None) -> None:
    """Fetch a data set from Kaggle or the Hugging Face Hub.

    An interrupted download resumes when the command is run again. `fashion` is the data set of the
    published study. OWNER/NAME is a data set on the Hugging Face Hub, of which the Parquet files
    are downloaded, or on Kaggle with --from kaggle. Set HF_ENDPOINT to use a mirror.

    \b
    Examples:
      bench data fetch fashion
      bench data fetch fashion --from hub --to /datasets
      bench data fetch uoft-cs/cifar10
    """
    fetched = _fetch(name, to, origin, revision)
    what = "already fetched, unchanged" if fetched.already_existed else "fetched"
    click.echo(f"{fetched.origin} {what}: {fetched.folder}", err=True)
    click.echo(f"data.source={fetched.source} data.path={fetched.folder}")
    example = "-c configs/fashion.yaml " if name == "fashion" else ""
    click.echo(
        f"next: bench data stats {example}--set data.source={fetched.source} --set "
        f"data.path={fetched.folder}{'' if name == 'fashion' else ' --set data.label=COLUMN'}",
        err=True,
    )


def _fetch(name: str, to: Path, origin: Origin, revision: str | None) -> Fetched:
    from clothclf.data.fetch.fashion import existing_download, fetch_fashion
    from clothclf.data.fetch.hub import fetch_from_hub
    from clothclf.data.fetch.kaggle import fetch_from_kaggle
    from clothclf.settings import HubSettings

    if name != "fashion" and not re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", name):
        raise click.UsageError(
            f"{name!r} is not the name of a data set; give fashion or OWNER/NAME"
        )
    if revision is not None and (name == "fashion" or origin == "kaggle"):
        raise click.UsageError("--revision requires a data set of the hub, OWNER/NAME")
    folder = to / name.rpartition("/")[2]
    with _progress() as progress:
        if name == "fashion":
            return fetch_fashion(origin, folder, progress)
        if (existing := existing_download(folder, origin, (name,))) is not None:
            return existing
        if origin == "kaggle":
            return fetch_from_kaggle(name, folder)
        return fetch_from_hub(HubSettings(dataset=name, revision=revision), folder, progress)


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    """Show downloaded bytes: a progress bar on a terminal, else a line every few seconds."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    bar = Progress("fetch", BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console)
    task = bar.add_task("fetch", total=None)
    started = printed_at = time.monotonic()

    def draw(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    def show(done: int, total: int) -> None:
        nonlocal printed_at
        now = time.monotonic()
        if now - printed_at >= _PLAIN_LINE_EVERY_S or (done == total and now - started > 1):
            printed_at = now
            click.echo(f"fetch: {done / 2**20:,.1f} of {total / 2**20:,.1f} MiB", err=True)

    try:
        yield draw if console.is_terminal else show
    finally:
        if bar.live.is_started:
            bar.stop()
