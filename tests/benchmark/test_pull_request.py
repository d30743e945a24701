"""Comments on pull requests: one for each key, what GitHub refuses, and text that is hostile."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from benchmark.sharing.pull_request import github as github_module
from benchmark.sharing.pull_request.comment import MAX_CHARACTERS, render
from benchmark.sharing.pull_request.comments import marker
from benchmark.sharing.pull_request.job import InputError, Job, read_job
from benchmark.sharing.pull_request.post import post
from benchmark.sharing.pull_request.results import (
    COMPARISON,
    OUTCOME,
    PLOT,
    PNG,
    REPORT,
    Comparison,
    Outcome,
    Report,
)
from benchmark.text.github_text import github_code, github_text
from clothclf.errors import UserError
from tests.github_stand_in import BOT, REPOSITORY, TOKEN, Fault, GitHubStandIn

ATTACKER = {"login": "mallory", "type": "User"}
HOSTILE = (
    "@org/team #1 GH-2 owner/name#3 ![x](https://evil/x.png) [l](javascript:1) <img src=x> "
    "`code` **b** | --> <!-- bench comment --> </details> :tada: www.evil.example $x$ &lt; \\|"
)


def outcome(**changes: Any) -> Outcome:
    values = {"command": "compare a b", "key": "k", "title": "", "verdict": "passed"}
    return Outcome(**{**values, "conditions": ("accuracy drops 1",), **changes})


def comparison(name: str = "vgg16", rows: int = 1, **changes: Any) -> Comparison:
    change = {"baseline": 0.9, "new": 0.88, "difference": -0.02, "interval": (-0.03, -0.01)}
    costs = {
        "macs": {"baseline": 1e9, "new": 1.2e9, "ratio": 1.2},
        "latency": {"baseline": 5.0, "new": None, "ratio": None},
    }
    contrast = {"name": name, "accuracy": change, "verdict": "apart", "costs": costs}
    setting = {"key": "train.epochs", "baseline": "10", "new": name}
    values = {
        "baseline": "old.yaml",
        "new": "new.yaml",
        "contrasts": [contrast] * rows,
        "only_baseline": [name],
        "only_new": [],
        "settings": [setting] * rows,
        "fails": [],
        "not_judged": [],
    }
    return Comparison.model_validate({**values, **changes})


def report(name: str = "vgg16", rows: int = 1) -> Report:
    row = {"name": name, "test_accuracy": 0.9, "test_accuracy_low": 0.88}
    row |= {"test_accuracy_high": None, "test_macro_f1": 0.89, "macs": 10**9, "params": None}
    pick = {"trade_off": name, "sentence": f"Pick {name}.", "runner_up_sentence": name}
    table = {
        "rows": [{**row, "latency_ms_median": None}] * rows,
        "pick": {**pick, "notes": [name]},
        "failed": [{"run": name, "stage": "train", "reason": name}] * rows,
        "unfinished": [],
    }
    return Report.model_validate({"study": name, "comparisons": [table]})


@pytest.fixture
def github() -> Iterator[GitHubStandIn]:
    stand_in = GitHubStandIn()
    with stand_in.running():
        yield stand_in


@pytest.fixture
def job(github: GitHubStandIn) -> Job:
    return Job(github.address, github.address, REPOSITORY, 7, "c" * 40, "")


Posted = Callable[..., int]


@pytest.fixture
def posted(job: Job, tmp_path: Path) -> Posted:
    """Post with these values of the outcome; the summary is in summary.md."""
    variables = {name: str(tmp_path / f"{name}.md") for name in ("summary", "output")}
    named = {
        "GITHUB_STEP_SUMMARY": variables["summary"],
        "GITHUB_OUTPUT": variables["output"],
    }

    def run(plot: bytes | None = None, token: str = TOKEN, own: Job = job, **changes: Any) -> int:
        folder = tmp_path / "folder"
        folder.mkdir(exist_ok=True)
        (folder / OUTCOME).write_text(outcome(**changes).model_dump_json())
        (folder / COMPARISON).write_text(comparison().model_dump_json())
        (folder / REPORT).write_text(report().model_dump_json())
        if plot is not None:
            (folder / PLOT).write_bytes(PNG + plot)
        return post(folder, own, token, named)

    return run


def summary(folder: Path) -> str:
    return (folder / "summary.md").read_text("utf-8")


# One comment


def test_each_key_has_one_comment(github: GitHubStandIn, posted: Posted) -> None:
    for key in ("one", "two", "one", "two", "one"):
        assert posted(key=key, title=key) == 0
    first, second = github.own()
    assert "· one" in first
    assert "· two" in second


def test_the_comment_is_found_on_any_page(github: GitHubStandIn, posted: Posted) -> None:
    for _ in range(250):
        github.add_comment("talk", ATTACKER)
    posted()
    for _ in range(30):
        github.add_comment("more talk", ATTACKER)
    posted(title="again")
    (body,) = github.own()
    assert "· again" in body


@pytest.mark.parametrize("user", [None, {"login": "me", "type": "User"}])
def test_a_copied_marker_is_not_ours(
    github: GitHubStandIn, posted: Posted, user: dict[str, str] | None
) -> None:
    """For the token of a job and for one of a person: only its own user's comment is updated."""
    github.user = user
    fake = github.add_comment(f"{marker('k')}\nfake", ATTACKER)
    github.add_comment(f"quoted: {marker('k')}", user or BOT)  # not at the start
    posted()
    posted()
    assert fake["body"] == f"{marker('k')}\nfake"
    assert len(github.comments) == 3


def test_a_comment_that_is_deleted_meanwhile_is_written_again(
    github: GitHubStandIn, posted: Posted
) -> None:
    posted()

    def delete(request: str) -> None:
        if request.startswith("PATCH"):
            github.comments.clear()

    github.before = delete
    assert posted() == 0
    assert len(github.comments) == 1


def test_a_lost_response_makes_no_second_comment(github: GitHubStandIn, posted: Posted) -> None:
    github.faults.append(Fault("POST .*/comments", 502, done=True))
    assert posted() == 0
    assert len(github.comments) == 1


# The plot


def test_the_plot_is_linked_by_commit(github: GitHubStandIn, posted: Posted) -> None:
    """Each comment shows its own plot although the branch goes on, which has nothing else."""
    addresses, commits = [], []
    for content in (b"one", b"one", b"two"):
        posted(content)
        (address,) = re.findall(r'<img src="([^"]+)"', github.own()[0])
        addresses.append(address.removeprefix(github.address))
        commits.append(github.refs["bench-plots"])
    assert [github.image(address) for address in addresses] == [PNG + c for c in (b"one",) * 2] + [
        PNG + b"two"
    ]
    assert commits[0] == commits[1] != commits[2]
    assert github.objects[commits[0]]["parents"] == ()
    posted(b"three", key="other")
    assert len(github.files(github.refs["bench-plots"])) == 3  # two plots and the README


@pytest.mark.parametrize("existing", [False, True])
def test_another_job_may_move_the_branch(
    github: GitHubStandIn, posted: Posted, existing: bool
) -> None:
    if existing:
        posted(b"old")
    once = []

    def move(request: str) -> None:
        if not once and re.match("PUT|POST .*/git/refs", request):
            once.append(request)
            head = github.refs.get("bench-plots")
            files = dict.fromkeys(github.files(head), b"theirs") if head else {"x": b"theirs"}
            github.refs["bench-plots"] = github.commit(files)

    github.before = move
    posted(b"new")
    assert once
    assert "<img" in github.own()[0]
    assert PNG + b"new" in github.files(github.refs["bench-plots"]).values()


def test_without_permission_the_comment_has_no_plot_and_says_so(
    github: GitHubStandIn, posted: Posted
) -> None:
    github.permissions.remove("contents")
    assert posted(b"plot") == 0
    (body,) = github.own()
    assert "<img" not in body
    assert len(re.findall("The plot is not shown", body)) == 1
    assert "permissions: contents: write" in body


def test_what_is_no_image_is_not_stored(
    github: GitHubStandIn, posted: Posted, tmp_path: Path
) -> None:
    posted()
    (tmp_path / "folder" / PLOT).symlink_to("/etc/passwd")
    posted()
    (tmp_path / "folder" / PLOT).unlink()
    (tmp_path / "folder" / PLOT).write_text("<svg onload=alert(1)>")
    posted()
    assert not github.refs


# What GitHub refuses


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(".*/comments", 401, "Bad credentials"), "the token is not valid"),
        (Fault("POST .*", 403, "Resource not accessible"), "`permissions: pull-requests: write`"),
        (Fault(".*/comments", 404, "Not Found"), "no such entry"),
        (Fault("POST .*", 422, "Validation Failed"), "GitHub rejects the request"),
        (Fault(".*/comments", 301, headers={"Location": "http://evil.example/"}), "redirects"),
        (Fault(".*/comments", 429, headers={"Retry-After": "3600"}), "in 3600 seconds"),
        (Fault("POST .*", 403, "secondary rate limit", {"Retry-After": "999"}), "in 999 seconds"),
    ],
    ids=lambda value: value.status if isinstance(value, Fault) else "",
)
@pytest.mark.parametrize(("verdict", "code"), [("passed", 0), ("failed", 1)])
def test_a_refusal_is_one_sentence_in_the_summary_and_fails_nothing(
    github: GitHubStandIn,
    posted: Posted,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    fault: Fault,
    expected: str,
    verdict: str,
    code: int,
) -> None:
    github.faults.append(replace(fault))
    assert posted(verdict=verdict) == code
    assert github.comments == []
    said = capfd.readouterr().out
    (line,) = (line for line in said.splitlines() if "No comment was posted" in line)
    assert expected in line
    assert str(fault.status) in line
    assert f"status {fault.status}" in summary(tmp_path)
    assert "vgg16" in summary(tmp_path)
    assert TOKEN not in said + summary(tmp_path)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(".*/comments", 503, headers={"Retry-After": "0"}),
        Fault("GET .*/comments", 500),
        Fault("POST .*", 403, "You have exceeded a secondary rate limit", {"Retry-After": "1"}),
        Fault("POST .*", 429, "API rate limit exceeded", {"X-RateLimit-Reset": "1"}),
        Fault("POST .*", 403, "limit", {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}),
    ],
)
def test_what_passes_is_waited_for(github: GitHubStandIn, posted: Posted, fault: Fault) -> None:
    github.faults.append(replace(fault))
    assert posted() == 0
    assert len(github.own()) == 1
    assert not github.faults


def test_github_may_be_down(
    posted: Posted, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_module, "MAX_ATTEMPTS", 2)
    assert posted(own=replace(job, api="http://127.0.0.1:9"), verdict="failed") == 1
    assert "cannot be reached" in summary(tmp_path)


@pytest.mark.parametrize(
    ("own", "expected"),
    [({"token": ""}, "`token` is empty"), ({"number": None}, "the event has no pull request")],
)
def test_without_a_pull_request_or_token_there_is_a_summary(
    github: GitHubStandIn, posted: Posted, job: Job, tmp_path: Path, own: Any, expected: str
) -> None:
    token, number = own.get("token", TOKEN), own.get("number", 7)
    assert posted(token=token, own=replace(job, pull_request=number)) == 0
    assert github_text(expected) in summary(tmp_path)
    assert github.asked == []


# Text of others


def rendered(text: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


def written(name: str, rows: int = 1, **changes: Any) -> list[str]:
    job = Job("http://api", "http://server", REPOSITORY, 7, "c" * 40, "http://run")
    result = outcome(command=name, title=name, errors=(name,), notes=(name,), **changes)
    return [
        render(
            result, comparison(name, rows, fails=[name] * rows), report(name, rows), "", [], job
        ),
        render(result, None, report(name, rows), "", [name], job),
    ]


def test_hostile_text_is_shown_as_it_is() -> None:
    for text in written(HOSTILE, verdict="failed"):
        page = rendered(text)
        tags = {*re.findall(r"</?(\w+)", page)}
        table = {"table", "thead", "tbody", "tr", "th", "td"}
        own = {"h3", "p", "ul", "li", "strong", "details", "summary", "sub", "code", "a"}
        assert tags <= table | own
        assert re.findall(r'href="([^"]*)"', page) == ["http://run"]
        assert "<!--" not in page
        shown = re.sub(r"<code>.*?</code>|<[^>]*>", "", page)  # GitHub links nothing in code
        for live in ("@org", "#1", "#3", "GH-2", "://", ":tada:", "www.evil"):
            assert live not in shown
        assert page.count("<details>") == page.count("</details>")
        cells = [row.count("<td>") for row in re.findall("<tr>.*?</tr>", page, re.S)]
        assert len({count for count in cells if count}) <= 2  # no cell is split


@given(st.text(max_size=60))
def test_any_text_is_one_line_of_text(text: str) -> None:
    for made in (github_text(text), github_code(text)):
        page = rendered(f"- {made}\n\n{made}\n\n| a | b |\n| --- | --- |\n| {made} | z |\n")
        assert {*re.findall(r"<(\w+)", page)} <= {
            *("ul", "li", "p", "table", "thead", "tbody", "tr", "th", "td", "code")
        }
        assert page.count("<td>") == 2


@pytest.mark.parametrize("text", ["- x", "+ x", "---", "===", "1. x", "12.", "* x", "> x", "# x"])
def test_text_begins_no_list_heading_or_quotation(text: str) -> None:
    assert re.findall(r"<(\w+)", rendered(f"x\n\n{github_text(text)}\n")) == ["p", "p"]
    assert re.findall(r"<(\w+)", rendered(f"- {github_text(text)}\n")) == ["ul", "li"]


@pytest.mark.parametrize("name", ["#" * 1000, "a" * 1000, "😀" * 1000])
def test_a_comment_is_never_too_long(name: str) -> None:
    for text in written(name, rows=500, verdict="failed"):
        assert len(text) <= MAX_CHARACTERS
        assert text.startswith("### ❌ Failed")
        assert "commit" in text


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"contrasts": 1}', "\x00", "[" * 10_000])
def test_files_that_are_not_benchs_are_errors(
    posted: Posted, tmp_path: Path, job: Job, content: str
) -> None:
    posted()
    (tmp_path / "folder" / COMPARISON).write_text(content)
    with pytest.raises(UserError, match=r"compare\.json: ") as caught:
        post(tmp_path / "folder", job, TOKEN, {})
    assert len(str(caught.value)) < 200


# The job


def event(folder: Path, values: Any) -> dict[str, str]:
    path = folder / "event.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return {"GITHUB_REPOSITORY": REPOSITORY, "GITHUB_EVENT_PATH": str(path)}


@pytest.mark.parametrize(
    ("values", "number"),
    [
        ({"pull_request": {"number": 5}}, 5),
        ({"issue": {"number": 6, "pull_request": {}}}, 6),
        ({"issue": {"number": 6}}, None),
        ({"pull_request": {"number": "5; rm"}}, None),
        ({"ref": "refs/heads/main"}, None),
        ([], None),
    ],
)
def test_the_pull_request_is_that_of_the_event(
    tmp_path: Path, values: Any, number: int | None
) -> None:
    variables = event(tmp_path, values)
    assert read_job(variables).pull_request == number
    assert read_job({**variables, "INPUT_PULL_REQUEST": " 12 "}).pull_request == 12


@pytest.mark.parametrize(
    "changes",
    [
        {"GITHUB_REPOSITORY": "../../user"},
        {"GITHUB_REPOSITORY": ""},
        {"INPUT_PULL_REQUEST": "7/../8"},
        {"INPUT_PULL_REQUEST": "-1"},
        {"GITHUB_EVENT_PATH": "/nowhere"},
    ],
)
def test_what_is_no_job_is_an_error(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(InputError):
        read_job({**event(tmp_path, {}), **changes})
