"""Command-line entry point `bench`; user errors become a message and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import click

from benchmark.commands.compare import compare
from benchmark.commands.config import config
from benchmark.commands.cost import cost
from benchmark.commands.curve import curve
from benchmark.commands.data import data
from benchmark.commands.deploy import deploy
from benchmark.commands.doctor import doctor
from benchmark.commands.export import export
from benchmark.commands.init import init
from benchmark.commands.merge import merge
from benchmark.commands.models import models
from benchmark.commands.options import log_options
from benchmark.commands.pack import pack
from benchmark.commands.plan import plan
from benchmark.commands.predict import predict
from benchmark.commands.register import register
from benchmark.commands.report import report
from benchmark.commands.run import run
from benchmark.commands.runs import runs
from benchmark.commands.select import select
from benchmark.commands.stress import stress
from benchmark.commands.sync import sync
from benchmark.commands.ui import ui
from benchmark.config.logging_config import configure_logging
from clothclf.errors import UserError

logger = logging.getLogger(__name__)

EXIT_FAILED_RUN = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class _Bench(click.Group):
    """Command group that prints user errors to standard error and exits with code 2."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command, even if the shell has closed a standard stream (`>&-`)."""
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            if getattr(sys, name) is None:
                # In this order, each stream gets its own descriptor, so that no other file can.
                setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
        configure_logging()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; print user errors and interrupts as one message with an exit code."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            logger.debug("user error", exc_info=True)
            for line in str(error).splitlines():
                # Escape terminal control codes, which file names may contain.
                shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
                click.echo(f"bench: {shown}", err=True)
            ctx.exit(EXIT_BAD_INPUT)
        except KeyboardInterrupt as interrupt:
            saved = "Interrupted. Progress is saved; run the same command to resume."
            click.echo(f"bench: {str(interrupt) or saved}", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            # The reader closed the pipe, as in `bench report | head`.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_FAILED_RUN)
        except OSError as error:
            logger.debug("operating system error", exc_info=True)
            # For example a full disk or a deleted folder; progress is saved.
            named = f"{error.filename}: " if error.filename else ""
            click.echo(f"bench: {named}{error.strerror or error}", err=True)
            ctx.exit(EXIT_FAILED_RUN)


@click.group(cls=_Bench, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bench-architectures", prog_name="bench")
def main() -> None:
    """Which image architecture should I pick for my data, and what does it cost?

    \b
    Train, measure, track and compare the architectures of a study:
      bench run --all
      bench report

    \b
    Run the published study on real images (download the zip from Kaggle first):
      bench run --all -c configs/fashion.yaml --set data.path=archive.zip
    """


for _command in (
    *(init, run, plan, report, compare, cost, models, data, select),
    *(
        curve,
        predict,
        export,
        deploy,
        stress,
        register,
        runs,
        pack,
        merge,
        sync,
        doctor,
        ui,
        config,
    ),
):
    log_options(_command)
    main.add_command(_command)
