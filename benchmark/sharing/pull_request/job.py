"""What GitHub tells a job: inputs, repository, pull request, and where outputs go."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.text.printable import printable
from clothclf.errors import UserError

MAX_EVENT_BYTES = 32 * 2**20
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class InputError(UserError):
    """An input of the action cannot be used."""


@dataclass(frozen=True)
class Job:
    """The job's repository, and the pull request that it runs for."""

    api: str
    server: str
    repository: str
    """OWNER/NAME."""
    pull_request: int | None
    """None for an event without a pull request."""
    commit: str
    """Last commit of the pull request; empty if unknown."""
    run_url: str


def read_job(variables: Mapping[str, str]) -> Job:
    """Read the variables that GitHub sets, and the input `pull-request`; raises InputError."""
    repository = variables.get("GITHUB_REPOSITORY", "")
    if not _REPOSITORY.fullmatch(repository):
        raise InputError(
            f"GITHUB_REPOSITORY: {repository!r} is not OWNER/NAME; run this as a step of a job"
        )
    server = variables.get("GITHUB_SERVER_URL") or "https://github.com"
    run = variables.get("GITHUB_RUN_ID", "")
    event = _read_event(variables.get("GITHUB_EVENT_PATH", ""))
    commit = str(_at(event, "pull_request", "head", "sha") or variables.get("GITHUB_SHA", ""))
    return Job(
        api=variables.get("GITHUB_API_URL") or "https://api.github.com",
        server=server,
        repository=repository,
        pull_request=_number(variables.get("INPUT_PULL_REQUEST", "").strip(), event),
        commit=commit if _COMMIT.fullmatch(commit) else "",
        run_url=f"{server}/{repository}/actions/runs/{run}" if run.isdecimal() else "",
    )


def _read_event(path: str) -> Any:
    if not path:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return json.loads(file.read(MAX_EVENT_BYTES))
    except (OSError, ValueError):
        raise InputError(f"GITHUB_EVENT_PATH: {path} is not the JSON of an event") from None


def _number(given: str, event: Any) -> int | None:
    """Number of the pull request: the input, or that of the event."""
    if given:
        if not re.fullmatch(r"[1-9]\d{0,9}", given):
            raise InputError(f"pull-request: {given!r} is not the number of a pull request")
        return int(given)
    number = _at(event, "pull_request", "number")
    if number is None and _at(event, "issue", "pull_request") is not None:
        number = _at(event, "issue", "number")
    return number if isinstance(number, int) else None


def _at(values: Any, *keys: str) -> Any:
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def lines(text: str) -> list[str]:
    """Entries of an input with one entry a line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def words(text: str, name: str) -> list[str]:
    """Split an input as a shell does, without expanding or running anything."""
    try:
        return shlex.split(text, comments=True)
    except ValueError as error:
        raise InputError(f"{name}: {error}; quote as in a shell") from None


def write_output(variables: Mapping[str, str], **values: str) -> None:
    """Set outputs of the step, one line each."""
    texts = [f"{name.replace('_', '-')}={printable(value)}" for name, value in values.items()]
    _append(variables.get("GITHUB_OUTPUT", ""), texts)


def write_summary(variables: Mapping[str, str], text: str) -> None:
    """Add Markdown to the summary of the job."""
    _append(variables.get("GITHUB_STEP_SUMMARY", ""), [text])


def _append(path: str, texts: list[str]) -> None:
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write("".join(f"{text}\n" for text in texts))


def annotate(kind: str, text: str) -> None:
    """Print an error or a warning that GitHub shows on the page of the job."""
    shown = printable(text).replace("%", "%25")
    print(f"::{kind} title=bench::{shown}", flush=True)
