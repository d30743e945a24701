"""First step of `action.yml`: run `bench`, without the token, and keep what it says in files.

Always ends well once the inputs are read: the second step posts errors too, and then fails the job.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.sharing.pull_request.job import InputError, lines, words, write_output
from benchmark.sharing.pull_request.results import (
    COMPARISON,
    OUTCOME,
    PLOT,
    REPORT,
    Comparison,
    Outcome,
    Report,
    Verdict,
    read,
)
from benchmark.text.printable import printable
from clothclf.errors import UserError
from clothclf.process.command import code_command

BENCH = "from benchmark.cli import main; main()"
FAILED, BAD_INPUT = 1, 2
"""Exit codes of `bench compare` if a condition is met, or cannot be evaluated."""
MAX_ERRORS = 10


@dataclass(frozen=True)
class Inputs:
    """Inputs of the action."""

    command: str
    config: str
    baseline: str
    new: str
    arguments: str
    report_arguments: str
    settings: tuple[str, ...]
    conditions: tuple[str, ...]
    plot: str
    key: str
    title: str
    working_directory: str

    @staticmethod
    def read(variables: Mapping[str, str]) -> Inputs:
        """Read the variables `INPUT_…`, which `action.yml` sets."""
        texts = {
            name: variables.get(f"INPUT_{name.upper()}", "").strip()
            for name in (
                *("command", "config", "baseline", "new", "arguments", "report_arguments"),
                *("plot", "key", "title", "working_directory"),
            )
        }
        return Inputs(
            **texts,
            settings=tuple(lines(variables.get("INPUT_SET", ""))),
            conditions=tuple(lines(variables.get("INPUT_FAIL_IF", ""))),
        )

    @property
    def study(self) -> str:
        """Config of the study whose pick and plot are shown; empty for the default."""
        return self.new if self.new.endswith((".yaml", ".yml")) else self.config

    def check(self) -> None:
        """Raise InputError if the inputs do not go together."""
        if self.command not in ("report", "compare"):
            raise InputError(f"command: {self.command!r} is neither report nor compare")
        if self.command == "compare" and not (self.baseline and self.new):
            raise InputError("command: compare needs the inputs `baseline` and `new`")
        if self.command == "report" and (self.baseline or self.new or self.conditions):
            raise InputError(
                "command: report takes no `baseline`, `new` and `fail-if`; use command: compare"
            )

    def compare_words(self) -> list[str]:
        """Arguments of `bench compare`, without those of the output."""
        found = [*words(self.arguments, "arguments"), *self._common(self.config)]
        return found + [word for text in self.conditions for word in ("--fail-if", text)]

    def report_words(self) -> list[str]:
        """Arguments of `bench report`, without those of the output."""
        if self.command == "report":
            return [*words(self.arguments, "arguments"), *self._common(self.config)]
        return [*words(self.report_arguments, "report-arguments"), *self._common(self.study)]

    def _common(self, config: str) -> list[str]:
        settings = [word for text in self.settings for word in ("--set", text)]
        return [*(["-c", config] if config else []), *settings]


@dataclass
class Steps:
    """Commands that have been run in a folder."""

    folder: Path
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def bench(self, *arguments: str) -> tuple[int, list[str]]:
        """Run a command; return its exit code and the lines of its standard error."""
        print(f"bench {shlex.join(map(printable, arguments))}", flush=True)
        done = subprocess.run(
            code_command(BENCH, *arguments),
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            check=False,
        )
        for line in (*done.stdout.splitlines(), *done.stderr.splitlines()):
            # Text that begins with `::`, or holds `##[`, would be a command to GitHub.
            print(f"  | {printable(line).replace('##[', '## [')}", flush=True)
        return done.returncode, done.stderr.splitlines()

    def compare(self, inputs: Inputs) -> Verdict:
        """Run `bench compare`, and return the verdict of its conditions."""
        options, sides = inputs.compare_words(), ("--", inputs.baseline, inputs.new)
        output = self.folder / COMPARISON
        code, said = self.bench("compare", *options, "--format", "json", "-o", str(output), *sides)
        compared = read(output, Comparison) if output.is_file() else None
        if compared is not None:
            self._markdown("compare", *options, sides=sides)
        if compared is not None and compared.fails and code in (FAILED, BAD_INPUT):
            return "failed"
        if compared is None or code:
            messages = _sentences(said) or [f"bench compare ended with exit code {code}"]
            judged = compared.not_judged if compared is not None else ()
            self.errors += [line for line in messages if line not in judged]
            return "error"
        return "passed" if inputs.conditions else "none"

    def report(self, inputs: Inputs) -> Verdict:
        """Run `bench report`; beside a comparison, its errors are notes."""
        options, output = inputs.report_words(), self.folder / REPORT
        plots = self.folder / "plots"
        code, said = self.bench(
            "report", *options, "--plots", str(plots), "--format", "json", "-o", str(output)
        )
        if code or not output.is_file():
            messages = _sentences(said) or [f"bench report ended with exit code {code}"]
            if inputs.command == "report":
                self.errors += messages
                return "error"
            self.notes += [f"No pick and no plot: {line}" for line in messages[:1]]
            return "none"
        read(output, Report)
        self._take_plot(plots, inputs.plot)
        if inputs.command == "report":
            self._markdown("report", *options)
        return "none"

    def _markdown(self, command: str, *options: str, sides: Sequence[str] = ()) -> None:
        """Write the same as Markdown, for the output `report`."""
        self.bench(
            command, *options, "--format", "md", "-o", str(self.folder / f"{command}.md"), *sides
        )

    def _take_plot(self, plots: Path, name: str) -> None:
        if not name:
            return
        known = sorted(path.stem for path in plots.glob("*.png"))
        if name in known:
            shutil.copyfile(plots / f"{name}.png", self.folder / PLOT)
        elif known:
            self.notes.append(f"plot: there is no {name}; use one of {', '.join(known)}")


def _sentences(said: Sequence[str]) -> list[str]:
    """What `bench` said about an error."""
    own = [line.removeprefix("bench: ") for line in said if line.startswith("bench: ")]
    return (own or [line for line in said if line.strip()][-1:])[:MAX_ERRORS]


def run(inputs: Inputs, folder: Path) -> Outcome:
    """Run the commands of the inputs; their files are written to `folder`."""
    steps = Steps(folder)
    verdict: Verdict = "error"
    command = [inputs.command]
    try:
        inputs.check()
        if inputs.command == "compare":
            command += [*inputs.compare_words(), inputs.baseline, inputs.new]
            verdict = steps.compare(inputs)
            steps.report(inputs)
        else:
            command += inputs.report_words()
            verdict = steps.report(inputs)
    except UserError as error:
        steps.errors.append(str(error))
    return Outcome(
        command=shlex.join(command),
        key=inputs.key or f"{inputs.command} {inputs.working_directory} {inputs.study}",
        title=inputs.title,
        verdict=verdict,
        conditions=inputs.conditions,
        errors=tuple(steps.errors),
        notes=tuple(steps.notes),
    )


def main() -> None:
    """Run the commands; the output `folder` is read by the second step."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=os.environ.get("RUNNER_TEMP")))
    inputs = Inputs.read(os.environ)
    outcome = run(inputs, folder)
    (folder / OUTCOME).write_text(outcome.model_dump_json(indent=1), "utf-8")
    report = folder / f"{inputs.command}.md"
    write_output(os.environ, folder=str(folder), report=str(report) if report.is_file() else "")


if __name__ == "__main__":
    main()
