"""MLflow's own pages over a real study, in a real browser: the runs, their comparison, the report.

Set BENCH_SCREENSHOTS to a folder to keep what the pages looked like.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import study_folders
from benchmark.tracking.comparison_view import SAVED_VIEW
from tests.benchmark.conftest import COMMAND, StudyRun, free_port
from tests.benchmark.test_tracking import runs_of

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
WIDTHS = (1440, 768, 390)
PATIENCE_MS = 180_000
"""A page of MLflow's is some megabytes of script, and the machine may be busy."""
OWN_FAULTS = re.compile(r"/ajax-api/2\.0/mlflow/users/current$")
"""MLflow's pages ask for it on every server, and servers without accounts do not know it."""


@dataclass
class Served:
    """A study whose pages are served, and where."""

    folder: Path
    url: str
    """That `bench ui` printed."""

    @property
    def base(self) -> str:
        return self.url.partition("/#/")[0]

    def records(self) -> list[RunRecord]:
        result = [folder.record() for folder in study_folders(self.folder / "mlruns", "tiny")]
        return [record for record in result if record is not None]


@dataclass
class Seen:
    """What a page did beside showing itself."""

    outside: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        page.on("request", lambda request: self._asked(request.url))
        page.on("response", lambda answer: self._answered(answer.status, answer.url))
        page.on("pageerror", lambda error: self.raised.append(str(error)))

    def _asked(self, url: str) -> None:
        if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).hostname != "127.0.0.1":
            self.outside.append(url)

    def _answered(self, status: int, url: str) -> None:
        if status >= 400 and not OWN_FAULTS.search(url):
            self.refused.append(f"{status} {url}")

    def assert_quiet(self) -> None:
        assert (self.outside, self.refused, self.raised) == ([], [], [])


@pytest.fixture(scope="module")
def served(tiny_study: StudyRun) -> Iterator[Served]:
    """The tiny study, served by `bench ui` on loopback."""
    assert tiny_study.first.code == 0, tiny_study.first.err
    folder = tiny_study.folder
    port = free_port()
    with (folder / "ui.txt").open("w") as log:
        process = subprocess.Popen(
            [*COMMAND, "ui", "-c", "tiny.yaml", "--port", str(port)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")},
        )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[0]
        end = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                    break
            except OSError:
                assert time.monotonic() < end, (folder / "ui.txt").read_text()[-3000:]
                time.sleep(0.3)
        yield Served(folder, url)
    finally:
        process.terminate()  # which ends the server, too
        process.wait(60)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": WIDTHS[0], "height": 1200})
    opened.set_default_timeout(PATIENCE_MS)
    yield opened
    opened.close()


def keep_looks(page: Any, name: str, tmp_path: Path) -> None:
    """Screenshots at each width, without the panel of MLflow's that opens over a first visit."""
    folder = Path(os.environ.get("BENCH_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 1200})
        page.wait_for_timeout(1500)
        path = folder / f"mlflow-{name}-{width}.png"
        page.screenshot(path=str(path))
        assert path.stat().st_size > 10_000


def close_assistant(page: Any) -> None:
    """MLflow 3 opens a chat beside the first page that is visited."""
    close = page.locator('[data-component-id="mlflow.assistant.chat_panel.close"]')
    if close.count():
        close.first.click()


def shown(page: Any, text: str, exact: bool = True) -> None:
    """Wait until a text stands on the page."""
    page.get_by_text(text, exact=exact).first.wait_for(state="visible")


def test_bench_ui_opens_the_comparison_of_the_study(
    served: Served, page: Any, tmp_path: Path
) -> None:
    seen = Seen()
    seen.watch(page)
    page.goto(served.url)
    for record in served.records():
        shown(page, record.spec.name)
    close_assistant(page)
    for section in ("Comparison", "test", "valid", "train", "cost"):
        page.wait_for_function(f"/{section}\\s*\\(\\d+\\)/.test(document.body.innerText)")
    assert page.locator(".js-plotly-plot").count() > 0
    assert "matching runs" in page.inner_text("body")
    assert page.get_by_role("link", name="report", exact=True).count() == 0
    keep_looks(page, "runs", tmp_path)
    seen.assert_quiet()


def test_the_table_has_the_figures_that_people_sort_by(
    served: Served, page: Any, tmp_path: Path
) -> None:
    seen = Seen()
    seen.watch(page)
    page.goto(served.url.replace("=CHART", "=TABLE"))
    for record in served.records():
        shown(page, record.spec.name)
    close_assistant(page)
    for column in ("test/accuracy", "test/macro_f1", "cost/gmacs", "cost/mparams"):
        shown(page, column)
    cells = page.inner_text("body")
    for record in served.records():
        assert f"{record.test.accuracy:.3f}"[:4] in cells
    keep_looks(page, "table", tmp_path)
    seen.assert_quiet()


def test_an_untouched_table_offers_the_view_in_its_menu(served: Served, page: Any) -> None:
    experiment = runs_of(served.folder)[0].info.experiment_id
    page.goto(f"{served.base}/#/experiments/{experiment}/runs?workflowType=machine_learning")
    shown(page, served.records()[0].spec.name)
    close_assistant(page)
    page.get_by_role("button", name="Views").click()
    page.get_by_text(SAVED_VIEW, exact=True).click()
    for column in ("test/accuracy", "cost/gmacs", "cost/mparams"):
        shown(page, column)


def test_the_comparison_page_shows_parameters_and_metrics(
    served: Served, page: Any, tmp_path: Path
) -> None:
    seen = Seen()
    seen.watch(page)
    runs = runs_of(served.folder)
    listed = quote(json.dumps([run.info.run_id for run in runs]))
    query = f"runs={listed}&experiments={quote(json.dumps([runs[0].info.experiment_id]))}"
    page.goto(f"{served.base}/#/compare-runs?{query}")
    shown(page, "Comparing 2 Runs from 1 Experiment")
    close_assistant(page)
    shown(page, "Parallel Coordinates Plot")
    for run in runs:
        shown(page, run.info.run_name)
        shown(page, run.data.params["architecture"])
    # The first plot is of the metric that was logged first.
    for name in ("architecture", "valid/accuracy", "best/valid_accuracy", "cost/gmacs"):
        page.get_by_text(name, exact=True).first.wait_for(state="attached")
    keep_looks(page, "compare", tmp_path)
    accuracy = page.get_by_text("test/accuracy", exact=True)
    for top in range(0, 3000, 150):  # rows of the table are made as it is scrolled
        grids = "document.querySelectorAll('.ReactVirtualized__Grid')"
        page.evaluate(f"{grids}.forEach(grid => {{ grid.scrollTop = {top} }})")
        page.wait_for_timeout(250)
        if accuracy.count():
            break
    accuracy.first.wait_for(state="attached")
    seen.assert_quiet()


def test_a_run_has_a_model_with_its_schema(served: Served, page: Any, tmp_path: Path) -> None:
    seen = Seen()
    seen.watch(page)
    run = runs_of(served.folder)[0]
    place = f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/model"
    page.goto(f"{served.base}/#/{place}")
    shown(page, "MLflow Model")
    close_assistant(page)
    for text in ("Inputs (1)", "Outputs (3)", "input_example.json"):
        shown(page, text)
    keep_looks(page, "model", tmp_path)
    seen.assert_quiet()
