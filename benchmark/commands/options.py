"""Options that several verbs share."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

if TYPE_CHECKING:
    from benchmark.config.study import StudySettings

DEFAULT_CONFIG = "configs/demo.yaml"
RECIPE = "benchmark.config.recipes"
"""Key of the context's `meta` that holds `--recipe`."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def study_options(function: _Function) -> _Function:
    """Add `-c/--config` and `--set`, passed on as `config` and `assignments`, and `--recipe`.

    The recipe is kept in click's context, where `load` finds it.
    """
    function = click.option(
        "--recipe",
        metavar="NAME",
        expose_value=False,
        callback=_keep_recipe,
        help="Train by this recipe, a name or a file, in place of the config's own keys.",
    )(function)
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


def _keep_recipe(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    ctx.meta[RECIPE] = value


def winner_options(function: _Function) -> _Function:
    """Add `--run` and `--from-select`, passed on as `asked` and `from_select`; not both."""

    @functools.wraps(function)
    def one_of_them(*args: Any, asked: str | None, from_select: bool, **options: Any) -> Any:
        if asked is not None and from_select:
            raise click.UsageError("--run and --from-select: give one of them")
        return function(*args, asked=asked, from_select=from_select, **options)

    wrapped: Any = from_select_option(one_of_them)
    with_both: _Function = click.option(
        "--run", "asked", metavar="RUN", help="Use this run instead of the study's pick."
    )(wrapped)
    return with_both


def from_select_option(function: _Function) -> _Function:
    """Add `--from-select`, passed on as `from_select`."""
    return click.option(
        "--from-select",
        is_flag=True,
        help="Use the newest answer of `bench select` [default: if the study has no finished run].",
    )(function)


class Number(click.FloatRange):
    """A finite number within limits; click's own type lets `nan` and `inf` through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


class Count(click.ParamType[float]):
    """A positive count in units of 10^6 or 10^9: `10`, or with its unit, `10M`, `0.5G`."""

    def __init__(self, unit: Literal["M", "G"]) -> None:
        """`unit` is that of a bare number."""
        self.unit = unit
        self.name = unit

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The count in its own unit."""
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
            self.fail(f"{value!r} is no count above 0, such as 10 or 10{self.unit}", param, ctx)
        return count


UNITS = {"K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}


def selection_options(function: _Function) -> _Function:
    """Add what narrows the architectures and says their sizes; it comes with `assignments`."""

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
                     help="Leave these out; may be repeated."),
        click.option("--max-params", type=Count("M"), metavar="N",
                     help="Leave out what has more than N x 10^6 parameters; 10 or 10M."),
        click.option("--max-gmacs", type=Count("G"), metavar="N",
                     help="Leave out what takes more than N x 10^9 MACs at its size."),
        click.option("--image-size", metavar="PX",
                     help="Pixels, several as 64,96,112 (a sweep), or native: timm's own sizes."),
    )  # fmt: skip
    wrapped: Any = with_assignments
    for option in added:
        wrapped = option(wrapped)
    narrowed: _Function = wrapped
    return narrowed


def sizes_text(text: str) -> str:
    """`64,96` as the list that a config would have; anything else as it is."""
    parts = text.split(",")
    return f"[{text}]" if len(parts) > 1 and all(part.strip() for part in parts) else text


def load(config: Path, assignments: tuple[str, ...]) -> StudySettings:
    """Read the study that the shared options name."""
    from benchmark.config.study import load_study

    context = click.get_current_context()
    return load_study(config, assignments, context.meta[RECIPE], _notify)


def _notify(message: str) -> None:
    click.echo(message, err=True)


OUTPUT = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
"""A file to write; `-` is standard output."""


def output_option(function: _Function) -> _Function:
    """Add `-o/--output`, passed on as `output`."""
    told = "Write to FILE instead of standard output (-)."
    return click.option("-o", "--output", type=OUTPUT, metavar="FILE", help=told)(function)


def format_option(formats: Sequence[str], default: str) -> Callable[[_Function], _Function]:
    """Add `--format`, passed on as `form`; `default` says in words what goes without it."""
    told = f"Output format.  [default: from the suffix of --output, else {default}]"
    return click.option("--format", "form", type=click.Choice(list(formats)), help=told)


def output_format(
    form: str | None, output: Path | None, suffixes: Mapping[str, str], default: str
) -> str:
    """The format that `--format` or the suffix of `--output` names, else the default.

    `suffixes` maps suffixes to formats. Raises UsageError if both name one, and not the same.
    """
    named = suffixes.get(output.suffix.lower()) if output is not None else None
    if named is not None and form not in (None, named):
        own = next((suffix for suffix, name in suffixes.items() if name == form), "of another name")
        raise click.UsageError(
            f"-o {output} names the format {named}, --format {form} another; "
            f"use the suffix {own}, or leave out --format"
        )
    return form or named or default
