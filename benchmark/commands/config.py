"""`bench config`: the schema of configs."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import output_option
from benchmark.terminal.output_file import write_output


@click.group()
def config() -> None:
    """Describe the keys of a config.

    \b
    Example:
      bench config schema -o bench.schema.json
    """


@config.command()
@output_option
def schema(output: Path | None) -> None:
    """Print the JSON schema of configs.

    Editors with a YAML language server complete and check configs whose first line is
    `# yaml-language-server: $schema=bench.schema.json`.

    \b
    Example:
      bench config schema -o bench.schema.json
    """
    from benchmark.config.schema import config_schema_text

    write_output(config_schema_text(), output)
