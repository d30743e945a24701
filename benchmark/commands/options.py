"""Options shared by several commands."""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from benchmark.config.logging_config import LOG_LEVEL, configure_logging

if TYPE_CHECKING:
    from benchmark.config.study import StudySettings

    _NumberType = click.ParamType[float]
else:
    _NumberType = click.ParamType  # takes no type before click 8.4

DEFAULT_CONFIG = "configs/demo.yaml"
RECIPE = "benchmark.config.recipes"
"""Key of `--recipe` in the `meta` of the click context."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def study_options(function: _Function) -> _Function:
    """Add `-c/--config` and `--set`, passed as `config` and `assignments`, and `--recipe`.

    The recipe is stored in the click context, from which `load` reads it.
    """
    function = click.option(
        "--recipe",
        metavar="NAME",
        expose_value=False,
        callback=_keep_recipe,
        help="Training recipe, a name or a file; overrides the keys of the config.",
    )(function)
    function = click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY.PATH=VALUE",
        help="Override a key of the config; repeatable.",
    )(function)
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        default=DEFAULT_CONFIG,
        show_default=True,
        help="Study config: a YAML file, or the name of a built-in one.",
    )(function)


def _tuning_option(text: str, function: _Function) -> _Function:
    """Add `--tune`, which is short for `--set tuning.trials=N`, passed in `assignments`."""

    @functools.wraps(function)
    def with_tuning(
        *args: Any, tune: int | None, assignments: tuple[str, ...], **options: Any
    ) -> Any:
        added = () if tune is None else (f"tuning.trials={tune}",)
        return function(*args, assignments=(*assignments, *added), **options)

    wrapped: Any = with_tuning
    tuned: _Function = click.option(
        "--tune",
        type=click.IntRange(2),
        metavar="N",
        help=f"{text}; short for --set tuning.trials=N.",
    )(wrapped)
    return tuned


tune_option = functools.partial(
    _tuning_option,
    "Tune optimizer, learning rate and weight decay of each run by N short trials, judged on "
    "validation",
)
"""For commands that run a study."""
tuned_option = functools.partial(_tuning_option, "Use the runs that were tuned with N trials")
"""For commands that read the runs of a study."""


def log_options(command: click.Command) -> None:
    """Add `--verbose` and `--debug` to a command, and to all commands of a group."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            log_options(each)
        return
    levels = (
        (["-v", "--verbose"], "info", "Log what is read, started, cached and stored."),
        (["--debug"], "debug", "Log in detail, with tracebacks of errors and failed runs."),
    )
    for names, level, text in levels:
        option = click.Option(
            names,
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=functools.partial(_set_log_level, level),
            help=text,
        )
        command.params.append(option)


def _set_log_level(level: str, ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        configure_logging(level)
        os.environ[LOG_LEVEL] = level  # also for the processes of runs


def _keep_recipe(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    ctx.meta[RECIPE] = value


def winner_options(function: _Function) -> _Function:
    """Add `--tune`, and `--run` and `--from-select`, which are mutually exclusive.

    They are passed in `assignments`, and as `requested` and `from_select`.
    """

    @functools.wraps(function)
    def one_of_them(*args: Any, requested: str | None, from_select: bool, **options: Any) -> Any:
        if requested is not None and from_select:
            raise click.UsageError("give either --run or --from-select")
        return function(*args, requested=requested, from_select=from_select, **options)

    wrapped: Any = from_select_option(one_of_them)
    with_both: _Function = click.option(
        "--run", "requested", metavar="RUN", help="Use this run instead of the study's pick."
    )(wrapped)
    return tuned_option(with_both)


def from_select_option(function: _Function) -> _Function:
    """Add `--from-select`, passed as `from_select`."""
    return click.option(
        "--from-select",
        is_flag=True,
        help="Use the latest result of `bench select`  [default: if the study has no finished run]",
    )(function)


class Number(click.FloatRange):
    """Finite number within limits; click's own type accepts `nan` and `inf`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert to a finite float; fails on `nan` and `inf`."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


prefer_option = click.option(
    "--prefer",
    type=click.Choice(["balance", "accuracy", "speed", "size"]),
    default="balance",
    show_default=True,
    help="Pick by: accuracy: the most accurate; speed, size: the lowest latency, the fewest "
    "parameters of those that lose at most 2 points (--max-drop); balance: accuracy against MACs.",
)
margin_option = click.option(
    "--margin",
    type=Number(0, min_open=True),
    default=1.0,
    show_default=True,
    metavar="N",
    help="Accuracies that differ by less than N points are equivalent.",
)


class Count(_NumberType):
    """Positive count in units of 10^6 or 10^9: `10`, or with a suffix, `10M`, `0.5G`."""

    def __init__(self, unit: Literal["M", "G"]) -> None:
        """`unit` applies to numbers without a suffix."""
        self.unit = unit
        self.name = unit

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert to a count in units of `unit`."""
        if isinstance(value, float):
            return value
        text = str(value).strip().upper()
        factor = 1.0
        if text[-1:] in UNITS:
            factor = UNITS[text[-1]] / UNITS[self.unit]
            text = text[:-1]
        try:
            count = float(text) * factor
        except ValueError:
            count = math.nan
        if not 0 < count < math.inf:
            self.fail(f"{value!r} is not a number above 0, such as 10 or 10{self.unit}", param, ctx)
        return count


UNITS = {"K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}


def selection_options(function: _Function) -> _Function:
    """Add options that filter architectures and set image sizes, passed in `assignments`."""

    @functools.wraps(function)
    def with_assignments(
        *args: Any,
        image_size: str | None,
        max_gmacs: float | None,
        max_params: float | None,
        excluded: tuple[str, ...],
        assignments: tuple[str, ...],
        **options: Any,
    ) -> Any:
        given = {
            "data.image_size": None if image_size is None else sizes_text(image_size),
            "selection.max_gmacs": max_gmacs,
            "selection.max_params": max_params,
            "selection.exclude": json.dumps(excluded) if excluded else None,
        }
        shorthands = [f"{key}={value}" for key, value in given.items() if value is not None]
        return function(*args, assignments=(*assignments, *shorthands), **options)

    added = (
        click.option("--exclude", "excluded", multiple=True, metavar="PATTERN",
                     help="Exclude matching architectures; repeatable."),
        click.option("--max-params", type=Count("M"), metavar="N",
                     help="Only use architectures with at most N million parameters; 10 or 10M."),
        click.option("--max-gmacs", type=Count("G"), metavar="N",
                     help="Only use architectures with at most N GMACs, at their image size."),
        click.option("--image-size", metavar="PX",
                     help="Input size in pixels, a list such as 64,96,112, or native (timm's)."),
    )  # fmt: skip
    wrapped: Any = with_assignments
    for option in added:
        wrapped = option(wrapped)
    narrowed: _Function = wrapped
    return narrowed


def sizes_text(text: str) -> str:
    """Convert `64,96` to the list syntax of a config; leave other text unchanged."""
    parts = text.split(",")
    return f"[{text}]" if len(parts) > 1 and all(part.strip() for part in parts) else text


def load(config: Path, assignments: tuple[str, ...]) -> StudySettings:
    """Load the study given by `--config`, `--set` and `--recipe`."""
    from benchmark.config.study import load_study

    context = click.get_current_context()
    return load_study(config, assignments, context.meta[RECIPE], notify)


def notify(message: str) -> None:
    """Print a message to standard error."""
    click.echo(message, err=True)


OUTPUT = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
"""Parameter type of an output file; `-` is standard output."""


def output_option(function: _Function) -> _Function:
    """Add `-o/--output`, passed as `output`."""
    text = "Write to FILE instead of standard output (-)."
    return click.option("-o", "--output", type=OUTPUT, metavar="FILE", help=text)(function)


def format_option(formats: Sequence[str], default: str) -> Callable[[_Function], _Function]:
    """Add `--format`, passed as `form`; `default` describes the default in words."""
    text = f"Output format.  [default: from the suffix of --output, else {default}]"
    return click.option("--format", "form", type=click.Choice(list(formats)), help=text)


def output_format(
    form: str | None, output: Path | None, suffixes: Mapping[str, str], default: str
) -> str:
    """Output format from `--format` or the suffix of `--output`, else the default.

    `suffixes` maps suffixes to formats. Raises UsageError if the two contradict each other, or if
    the suffix is unknown and there is no `--format`.
    """
    suffix = output.suffix.lower() if output is not None else ""
    named = suffixes.get(suffix)
    if suffix and named is None and form is None:
        known = ", ".join(f"{text} ({name})" for text, name in suffixes.items())
        raise click.UsageError(f"-o {output}: unknown suffix; use one of {known}, or add --format")
    if named is not None and form not in (None, named):
        own = next(
            (f"suffix {text}" for text, name in suffixes.items() if name == form), "another suffix"
        )
        raise click.UsageError(
            f"-o {output} implies the format {named}, but --format is {form}; "
            f"use {own}, or remove --format"
        )
    return form or named or default
