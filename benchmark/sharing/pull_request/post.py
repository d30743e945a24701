"""Second step of `action.yml`: comment on the pull request, then fail the job if the verdict does.

Whatever cannot be posted is in the summary of the job, with the reason, and fails nothing.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from benchmark.sharing.pull_request.comment import render
from benchmark.sharing.pull_request.comments import write_comment
from benchmark.sharing.pull_request.github import GitHub, GitHubError
from benchmark.sharing.pull_request.job import (
    Job,
    annotate,
    read_job,
    write_output,
    write_summary,
)
from benchmark.sharing.pull_request.plot_branch import BRANCH, store_plot
from benchmark.sharing.pull_request.results import (
    COMPARISON,
    OUTCOME,
    PLOT,
    REPORT,
    Comparison,
    Outcome,
    Report,
    read,
    read_plot,
)
from benchmark.text.github_text import github_text
from clothclf.errors import UserError

EXIT_CODES = {"passed": 0, "none": 0, "failed": 1, "error": 2}


def post(folder: Path, job: Job, token: str, variables: Mapping[str, str]) -> int:
    """Comment on the pull request with the files of the first step; return the exit code."""
    outcome = read(folder / OUTCOME, Outcome)
    comparison = read(path, Comparison) if (path := folder / COMPARISON).is_file() else None
    report = read(path, Report) if (path := folder / REPORT).is_file() else None
    notes: list[str] = []
    address, reason = "", _no_comment(job, token)
    plot = ""
    if not reason and job.pull_request is not None:
        try:
            github = GitHub(job.api, job.repository, token)
            content = read_plot(folder / PLOT)
            if content is not None:
                plot, notes = _store(github, job, job.pull_request, outcome, content)
            text = render(outcome, comparison, report, plot, notes, job)
            address = write_comment(github, job.pull_request, outcome.key, text)
        except GitHubError as error:
            reason = str(error)
    text = render(outcome, comparison, report, plot, notes, job)
    if reason:
        annotate("warning", f"No comment was posted: {reason}")
        text += f"\n{github_text(f'No comment was posted: {reason}.', 500)}\n"
    write_summary(variables, text)
    write_output(variables, comment_url=address, verdict=outcome.verdict)
    for sentence in (*(comparison.fails if comparison else ()), *outcome.errors):
        annotate("error", sentence)
    return EXIT_CODES[outcome.verdict]


def _no_comment(job: Job, token: str) -> str:
    """Why there is nowhere to comment; empty if there is."""
    if job.pull_request is None:
        return "the event has no pull request; set the input `pull-request`, or use the summary"
    return "" if token else "the input `token` is empty"


def _store(
    github: GitHub, job: Job, number: int, outcome: Outcome, content: bytes
) -> tuple[str, list[str]]:
    """Store the plot; return its address, or none and a note."""
    name = hashlib.sha256(outcome.key.encode()).hexdigest()[:16]
    path = f"pull/{number}/{name}.png"
    try:
        commit = store_plot(github, path, content)
    except GitHubError as error:
        return "", [f"The plot is not shown, because it could not be stored on {BRANCH}: {error}"]
    # The page of the commit, not the raw file: readers of private repositories see it too.
    return f"{job.server}/{job.repository}/blob/{commit}/{quote(path)}?raw=true", []


def main() -> None:
    """Comment on the pull request of the job; exits with 1 if the verdict failed, 2 without one."""
    try:
        token = os.environ.get("GITHUB_TOKEN", "").strip()
        job = read_job(os.environ)
        code = post(Path(os.environ["INPUT_FOLDER"]), job, token, os.environ)
    except UserError as error:
        annotate("error", str(error))
        code = EXIT_CODES["error"]
    sys.exit(code)


if __name__ == "__main__":
    main()
