"""`action.yml`: its steps, run as they are written, against a server in GitHub's place."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmark.sharing.pull_request.run_bench import Inputs
from tests.benchmark.conftest import environment
from tests.benchmark.examples import make_measured
from tests.benchmark.predicted_runs import draw_predictions, draw_test_set, store_predicted_run
from tests.github_stand_in import REPOSITORY, TOKEN, GitHubStandIn
from tests.test_workflows import PINNED

ROOT = Path(__file__).parents[1]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
COMMIT = "c0ffee" + "0" * 34
STUDIES = {"old": {"vgg16": 0.9, "resnet18": 0.85}, "new": {"vgg16": 0.905, "resnet18": 0.78}}
IMAGES = 400


# The file


def test_keys_are_those_of_a_composite_action() -> None:
    assert set(ACTION) == {
        *("name", "description", "author", "branding", "inputs", "outputs", "runs")
    }
    assert set(ACTION["runs"]) == {"using", "steps"}
    assert ACTION["runs"]["using"] == "composite"
    for values in ACTION["inputs"].values():
        assert set(values) == {"description", "default"}
        assert isinstance(values["default"], str)
    assert all(set(values) == {"description", "value"} for values in ACTION["outputs"].values())
    allowed = {"name", "id", "if", "uses", "with", "run", "shell", "env", "working-directory"}
    for step in STEPS:
        assert set(step) <= allowed
        assert ("run" in step) != ("uses" in step)
        assert ("run" in step) == (step.get("shell") == "bash")


def test_expressions_name_what_is_there() -> None:
    """Inputs exist and are all used; outputs are of steps that set them."""
    used = EXPRESSION.findall(yaml.safe_dump([STEPS, ACTION["outputs"]], width=10_000))
    used += [step["if"] for step in STEPS if "if" in step]
    inputs = {found for text in used for found in re.findall(r"inputs\.([\w-]+)", text)}
    assert inputs == set(ACTION["inputs"])
    outputs = {text for text in used if text.startswith("steps.")}
    known = {"bench": ("folder", "report"), "post": ("verdict", "comment-url")}
    assert outputs == {f"steps.{step}.outputs.{name}" for step in known for name in known[step]}
    assert {step["id"] for step in STEPS if "id" in step} == set(known)


def test_inputs_reach_no_script() -> None:
    assert not any(EXPRESSION.search(step["run"]) for step in STEPS if "run" in step)
    assert all(PINNED.fullmatch(step["uses"]) for step in STEPS if "uses" in step)


def test_only_the_step_that_posts_has_the_token() -> None:
    having = [step["name"] for step in STEPS if "token" in yaml.safe_dump(step.get("env", {}))]
    assert having == ["Comment, and fail if the verdict does"]


def test_each_input_of_the_first_step_is_read() -> None:
    (step,) = (step for step in STEPS if step.get("id") == "bench")
    read = Inputs.read(dict.fromkeys(step["env"], "x"))
    assert all(value in ("x", ("x",)) for value in vars(read).values())


def test_inputs_and_outputs_are_documented() -> None:
    text = (ROOT / "docs/github-action.md").read_text("utf-8")
    for name in (*ACTION["inputs"], *ACTION["outputs"]):
        assert f"`{name}`" in text


def examples() -> list[dict[str, Any]]:
    text = (ROOT / "docs/github-action.md").read_text("utf-8")
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.S)]


def test_the_documented_workflow_uses_inputs_that_exist() -> None:
    used = []
    for example in examples():
        steps = [step for job in example.get("jobs", {}).values() for step in job["steps"]]
        used += [step["with"] for step in steps if "/bench@" in step.get("uses", "")]
    assert used
    assert all(set(values) <= set(ACTION["inputs"]) for values in used)


# The steps


@dataclass(frozen=True)
class Ended:
    """A job that has ended."""

    code: int
    log: str
    outputs: dict[str, str]
    summary: str


@dataclass(frozen=True)
class Runner:
    """Runs the steps as a runner of GitHub does."""

    github: GitHubStandIn
    folder: Path
    temp: Path

    def __call__(self, event: Any = None, token: str = TOKEN, **inputs: str) -> Ended:
        given = {key: values["default"] for key, values in ACTION["inputs"].items()}
        given |= {key.replace("_", "-"): value for key, value in inputs.items()}
        context = {f"inputs.{key}": value for key, value in given.items()}
        assert context["inputs.token"] == "${{ github.token }}"
        context["inputs.token"] = token
        default = {"pull_request": {"number": 7, "head": {"sha": COMMIT}}}
        (self.temp / "event.json").write_text(json.dumps(default if event is None else event))
        summary = self.temp / "summary.md"
        summary.write_text("")
        log, code = "", 0
        for step in STEPS:
            if "run" not in step:
                assert step["if"] == "inputs.python-version != ''"
                continue
            output = self.temp / "output"
            output.write_text("")
            done = self._step(step, context, output, summary)
            log, code = log + done.stdout, done.returncode
            for line in output.read_text().splitlines():
                name, _, value = line.partition("=")
                context[f"steps.{step['id']}.outputs.{name}"] = value
            if code:
                break
        outputs = {
            name: context.get(EXPRESSION.fullmatch(values["value"])[1], "")  # type: ignore[index]
            for name, values in ACTION["outputs"].items()
        }
        return Ended(code, log, outputs, summary.read_text())

    def _step(
        self, step: dict[str, Any], context: dict[str, str], output: Path, summary: Path
    ) -> subprocess.CompletedProcess[str]:
        def value(text: str) -> str:
            return EXPRESSION.sub(lambda found: context[found[1]], text)

        script = self.temp / "script.sh"
        script.write_text(step["run"])
        variables = {
            **environment(),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_API_URL": self.github.address,
            "GITHUB_SERVER_URL": self.github.address,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": "42",
            "GITHUB_EVENT_PATH": str(self.temp / "event.json"),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
            "RUNNER_TEMP": str(self.temp),
            **{name: value(text) for name, text in step.get("env", {}).items()},
        }
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.folder / value(step.get("working-directory", ".")),
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with old.yaml and new.yaml, whose resnet18 is worse, and their stores."""
    folder = tmp_path_factory.mktemp("checkout")
    images = draw_test_set(IMAGES)
    for name, shares in STUDIES.items():
        (folder / f"{name}.yaml").write_text(
            f"study: s\narchitectures: [vgg16, resnet18]\ntracking: {{folder: {name}}}\n"
        )
        for place, (architecture, share) in enumerate(shares.items()):
            right = np.arange(IMAGES) < round(share * IMAGES)
            answers = draw_predictions(images.targets, right, len(images.classes), place)
            costs = {"macs": (2 - place) * 10**9, "measured": make_measured(9.0 - 4 * place)}
            store_predicted_run(folder / name, images, answers, architecture, **costs)
    return folder


@pytest.fixture
def action(studies: Path, tmp_path: Path) -> Iterator[Runner]:
    github = GitHubStandIn()
    with github.running():
        yield Runner(github, studies, tmp_path)


COMPARE = {"command": "compare", "baseline": "old.yaml", "new": "new.yaml"}


def test_a_second_run_updates_the_comment_and_a_failing_condition_fails_the_job(
    action: Runner,
) -> None:
    github = action.github
    github.add_comment("Looks good to me", {"login": "someone", "type": "User"})
    first = action(**COMPARE, fail_if="accuracy drops 9\nmacs rise 10 %\n")
    assert first.code == 0, first.log
    (body,) = github.own()
    assert "### ✅ Passed · new.yaml vs. old.yaml" in body
    assert "Pick vgg16" in body
    assert "85.00 % → 78.00 %" in body
    assert COMMIT in body
    assert first.outputs["verdict"] == "passed"
    assert first.outputs["comment-url"] == github.comments[1]["html_url"]
    assert "# new.yaml vs. old.yaml" in Path(first.outputs["report"]).read_text("utf-8")
    assert shown_images(body)[0] == (Path(first.outputs["folder"]) / "plot.png").read_bytes()
    plotted = github.refs["bench-plots"]

    second = action(**COMPARE, fail_if="accuracy drops 5")
    assert second.code == 1, second.log
    (body,) = github.own()
    assert len(github.comments) == 2
    assert "### ❌ Failed" in body
    assert "- resnet18: accuracy drops 7.00 points, more than 5, from 85.00 to 78.00" in body
    assert second.outputs["verdict"] == "failed"
    assert second.outputs["comment-url"] == first.outputs["comment-url"]
    assert "::error title=bench::resnet18: accuracy drops 7.00 points" in second.log
    assert github.refs["bench-plots"] == plotted  # the same plot needs no commit
    assert TOKEN not in first.log + second.log + body + second.summary


def shown_images(body: str) -> list[bytes]:
    addresses = re.findall(r'<img src="([^"]+)"', body)
    return [urllib.request.urlopen(address).read() for address in addresses]


def test_a_report_is_a_comment_beside_that_of_a_comparison(action: Runner) -> None:
    report = {"command": "report", "config": "new.yaml", "plot": "accuracy-price"}
    ended = action(**report, arguments="--prefer accuracy # a shell's comment", title="@all #1")
    assert ended.code == 0, ended.log
    (body,) = action.github.own()
    assert "Pick vgg16" in body
    assert "| vgg16 &#40;pick&#41; | 90.50 % |" in body
    assert ended.outputs["verdict"] == "none"
    assert "plot: there is no accuracy-price; use one of accuracy-latency" in body
    failed = action(**COMPARE, fail_if="accuracy drops", key="other")
    assert failed.code == 2
    assert len(action.github.own()) == 2
    assert "⚠️ Not judged" in action.github.own()[1]
    assert "invalid condition" in action.github.own()[1]


def test_arguments_are_words_and_never_run(action: Runner, studies: Path) -> None:
    hostile = "$(touch hacked) `touch hacked`; touch hacked\n::error::no"
    texts = dict.fromkeys(("config", "arguments", "plot", "title", "key", "set"), hostile)
    ended = action(**texts)
    assert ended.code == 2, ended.log
    assert "\n::error::no" not in ended.log
    assert "⚠️ Not judged · &#36;&#40;touch hacked&#41;" in action.github.own()[0]
    assert action(config="none.yaml", arguments="'open").code == 2
    assert "No closing quotation" in action.github.own()[1]
    ended = action(config="none.yaml", pull_request=hostile)
    assert ended.code == 2
    assert "is not the number of a pull request" in ended.log
    assert not list(studies.rglob("hacked")) + list(action.temp.rglob("hacked"))


def test_a_fork_gets_its_verdict_and_a_summary(action: Runner) -> None:
    """The token of a fork can read only: nothing is posted, and only the verdict fails the job."""
    action.github.permissions.clear()
    ended = action(**COMPARE, fail_if="accuracy drops 9")
    assert ended.code == 0, ended.log
    assert action.github.comments == []
    assert "✅ Passed" in ended.summary
    assert "status 403" in ended.summary
    assert "::warning title=bench::No comment was posted: POST" in ended.log
    assert ended.outputs["comment-url"] == ""
    assert action(**COMPARE, fail_if="accuracy drops 5").code == 1


def test_bench_is_installed_where_it_is_missing(tmp_path: Path) -> None:
    """The step as it is written; pip's own variables keep it offline and without dependencies."""
    skipped = shutil.ignore_patterns(".git", ".venv", "build", "mlruns", "*.egg-info", ".*_cache")
    shutil.copytree(ROOT, tmp_path / "action", ignore=skipped)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    (packages,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    ours = Path(find_spec("setuptools").origin).parents[1]  # type: ignore[union-attr,arg-type]
    names = ("setuptools", "setuptools-*", "_distutils_hack")
    for old in (path for name in names for path in packages.glob(name)):  # in Python 3.11
        shutil.rmtree(old)
    for path in (path for name in names for path in ours.glob(name)):
        (packages / path.name).symlink_to(path)
    checkout = tmp_path / "checkout"
    for name in ("pip", "benchmark"):  # of the pull request: never imported
        (checkout / name).mkdir(parents=True)
        (checkout / name / "__init__.py").write_text("raise SystemExit('imported')")
    (step,) = (step for step in STEPS if step["name"] == "Install bench")
    variables = {
        **environment(),
        "PATH": f"{tmp_path / 'venv/bin'}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_ACTION_PATH": str(tmp_path / "action"),
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # 0 turns isolation off
    }
    for _ in range(2):  # the second time, there is nothing to install
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(
            command, cwd=checkout, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert (packages / "benchmark/sharing/pull_request/post.py").is_file()
        shutil.rmtree(tmp_path / "action", ignore_errors=True)
