"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from benchmark.study import StudySettings

DEFAULT_CONFIG = "configs/demo.yaml"

_Function = TypeVar("_Function", bound=Callable[..., Any])


def study_options(function: _Function) -> _Function:
    """Add `-c/--config` and `--set`, passed on as `config` and `assignments`."""
    function = click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY.PATH=VALUE",
        help="Change one key of the config; may be repeated.",
    )(function)
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        default=DEFAULT_CONFIG,
        show_default=True,
        help="The study: a YAML file, or the name of a shipped one.",
    )(function)


def load(config: Path, assignments: tuple[str, ...]) -> StudySettings:
    """Read the study that the shared options name."""
    from benchmark.study import load_study

    return load_study(config, assignments)


def write_output(text: str, output: Path | None) -> None:
    """Write to a file, or to standard output without one; raises ReportError where it cannot."""
    from benchmark.errors import ReportError
    from clothclf.data.atomic import write_text

    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_text(output, text)
    except OSError as error:
        raise ReportError(f"{output}: cannot be written: {error.strerror}") from None
    click.echo(f"written to {output}", err=True)
