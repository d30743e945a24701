"""`bench data audit`: near-duplicates, suspected label errors and odd pictures."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import load, study_options, write_output


@click.command()
@study_options
@click.option(
    "--architecture",
    metavar="NAME",
    help="Whose features suspected label errors are found by; by default the study's first.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report to a file: markdown, or JSON where its name ends in .json.",
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw near-duplicates and suspects on a PNG.",
)
@click.option(
    "--csv",
    "table",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write all suspects to a CSV, which data.exclude takes.",
)
@click.option(
    "--show",
    type=click.IntRange(1, 500),
    default=40,
    show_default=True,
    help="Suspects, and groups of near-duplicates, on the sheet.",
)
def audit(
    config: Path,
    assignments: tuple[str, ...],
    architecture: str | None,
    output: Path | None,
    sheet: Path | None,
    table: Path | None,
    show: int,
) -> None:
    """Look for near-duplicates, label errors and odd pictures; nothing is changed.

    Suspected label errors are found by a model: every picture is answered by a head that was
    trained on the others. They are kept, and bench report then tells each accuracy without them.

    \b
    Examples:
      bench data audit
      bench data audit -c configs/fashion.yaml --set data.path=archive.zip --sheet sheet.png
      bench data audit --csv suspects.csv -o audit.md
    """
    from benchmark import audit_text
    from benchmark.data_audit import audit_data
    from benchmark.errors import ReportError

    study = load(config, assignments)
    found = audit_data(study, architecture)
    click.echo(audit_text.as_text(found), nl=False)
    if output is not None:
        as_json = output.suffix.lower() == ".json"
        write_output(
            audit_text.as_json(found) if as_json else audit_text.as_markdown(found), output
        )
    if table is not None:
        write_output(audit_text.suspects_csv(found.audit), table)
    if sheet is not None:
        from benchmark.audit_sheet import draw_audit

        try:
            sheet.parent.mkdir(parents=True, exist_ok=True)
            draw_audit(found, show).save(sheet, format="PNG")
        except OSError as error:
            raise ReportError(f"{sheet}: cannot be written: {error.strerror}") from None
        click.echo(f"written to {sheet}", err=True)
    click.echo(f"suspects kept in {found.kept}", err=True)
