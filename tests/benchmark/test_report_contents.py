"""The report: the right rows in one table, the right pick, nothing hidden."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import sys
import types
from pathlib import Path

import pytest

from benchmark.cli import main
from benchmark.config.study import StudySettings, TrackingSettings
from benchmark.report.collect import collect
from benchmark.report.columns import COLUMNS, pareto_front
from benchmark.report.formats import FORMATS, ReportFormat
from benchmark.report.pick import choose_pick
from benchmark.report.pick_rule import Criteria
from benchmark.report.rows import make_rows
from benchmark.report.write import read_report
from benchmark.runs import run_folder as files
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from benchmark.tracking.run_fields import final_metrics
from clothclf.settings import ArchitectureSettings, DataSettings, TrainSettings
from clothclf.training.metrics import METRICS
from tests.benchmark.examples import DATA, make_cost, make_measured, make_record, make_spec
from tests.benchmark.pseudo_terminal import run_in_terminal


def study_in(root: Path, *names: str) -> StudySettings:
    return StudySettings(
        study="s",
        architectures=tuple(ArchitectureSettings(name=name) for name in names or ("vgg16",)),
        tracking=TrackingSettings(folder=root),
    )


def store_record(root: Path, record: RunRecord) -> None:
    folder = RunFolder.of(root, record.spec)
    folder.start(record.spec)
    folder.write(files.RECORD, record)


def fail(root: Path, spec: RunSpec, reason: str) -> None:
    folder = RunFolder.of(root, spec)
    folder.start(spec)
    failure = Failure(
        run_id=spec.run_id, spec=spec, stage="train", reason=reason, log_tail="", at="2024"
    )
    folder.write(files.FAILURE, failure)


def text(study: StudySettings, form: str = "md") -> str:
    return read_report(study, Path("s.yaml")).text(form)


def published(root: Path) -> StudySettings:
    """The published figures, as a study."""
    table = {"vgg16": (0.8688, 3.9e9), "efficientnet_b0": (0.8428, 0.1e9)}
    table["densenet121"] = (0.8312, 0.7e9)
    for name, (accuracy, macs) in table.items():
        store_record(root, make_record(make_spec(name), accuracy, int(macs)))
    return study_in(root, *table)


def test_the_pick_weighs_accuracy_against_cost(tmp_path: Path) -> None:
    """On the published figures: VGG16 is ahead, EfficientNet-B0 the better bargain."""
    study = published(tmp_path)
    rows = make_rows(collect(study, tmp_path).comparisons[0])
    pick = choose_pick(rows, Criteria(choose_on="test"))
    assert pick is not None
    assert pick.chosen is not None
    assert pick.most_accurate.architecture == "vgg16"
    assert pick.chosen.architecture == "efficientnet_b0"
    assert [row.architecture for row in pick.front] == ["efficientnet_b0", "vgg16"]
    assert pick.sentence == "Pick efficientnet_b0: 2.6 points below vgg16, 39x fewer MACs."


def test_no_row_of_the_front_is_beaten_by_any_row(tmp_path: Path) -> None:
    accuracies = [(0.5, 100), (0.7, 200), (0.6, 300), (0.7, 150), (0.9, 10_000), (0.4, 50)]
    for number, (accuracy, macs) in enumerate(accuracies):
        store_record(tmp_path, make_record(make_spec(f"a{number}"), accuracy, macs))
    rows = make_rows(collect(study_in(tmp_path), tmp_path).comparisons[0])
    front = pareto_front(rows)
    assert [row.architecture for row in front] == ["a5", "a0", "a3", "a4"]
    for saved in front:
        assert not any(
            (row.macs or 0) <= (saved.macs or 0) and row.accuracy > saved.accuracy for row in rows
        )


def test_seeds_are_averaged_and_their_spread_is_shown(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.8, 0.9)):
        store_record(tmp_path, make_record(make_spec(seed=seed), accuracy, 1000))
    study = study_in(tmp_path)
    (row,) = make_rows(collect(study, tmp_path).comparisons[0])
    assert row.accuracy == pytest.approx(0.85)
    assert row.accuracy_deviation == pytest.approx(0.0707, abs=1e-4)
    assert "85.00 % ± 7.07" in text(study)


def test_failed_unfinished_and_missing_runs_are_listed(tmp_path: Path) -> None:
    store_record(tmp_path, make_record(make_spec("vgg16"), 0.8, 1000))
    fail(tmp_path, make_spec("resnet18"), "the loss is not finite | really")
    RunFolder.of(tmp_path, make_spec("resnet34")).start(make_spec("resnet34"))
    study = study_in(tmp_path, "vgg16", "resnet18", "resnet34", "resnet50")
    said = text(study)
    assert "failed in train: the loss is not finite \\| really" in said
    assert "| resnet34-s0 |" in said
    assert "unfinished" in said
    assert "| resnet50, seed 0 |" in said
    assert "not started" in said


def names_listed(study: StudySettings) -> dict[str, list[str]]:
    """By format, the first column of the main table: what a report is about."""
    markdown = text(study).partition("| architecture |")[2].partition("\n\n")[0]
    latex = text(study, "latex")
    (comparison,) = json.loads(text(study, "json"))["comparisons"]
    page = text(study, "html").partition('<table class="main"')[2].partition("</table>")[0]
    return {
        "md": re.findall(r"^\| ([^|]+) \|", markdown, re.M)[1:],
        "html": re.findall(r'<th scope="row"[^>]*>([^<]+?)(?: <|<)', page),
        "csv": [row["architecture"] for row in csv.DictReader(io.StringIO(text(study, "csv")))],
        "json": [
            *(row["architecture"] for row in comparison["rows"]),
            *(item["run"] for item in comparison["failed"]),
            *comparison["unfinished"],
            *(item["run"] for item in comparison["refused"]),
            *json.loads(text(study, "json"))["not_started"],
        ],
        "latex": [
            name.replace("\\_", "_")
            for name in re.findall(r"^ +(?:% )?(\w[\w\\, -]*?)(?: &|:) ", latex, re.M)[1:]
        ],
    }


def test_every_format_lists_the_same_runs(tmp_path: Path) -> None:
    """Finished, failed, unfinished, rejected and not started, in one order."""
    store_record(tmp_path, make_record(make_spec("vgg16"), 0.8, 1000))
    fail(tmp_path, make_spec("resnet18"), "why")
    RunFolder.of(tmp_path, make_spec("resnet34")).start(make_spec("resnet34"))
    refused = make_record(make_spec("resnet50"), 0.8, 1000)
    store_record(tmp_path, refused)
    (RunFolder.of(tmp_path, refused.spec).path / files.RECORD).write_text("{}")
    result = names_listed(study_in(tmp_path, "vgg16", "densenet121"))
    expected = ["vgg16", "resnet18-s0", "resnet34-s0", "resnet50-s0", "densenet121, seed 0"]
    assert result == dict.fromkeys(result, expected)


def test_runs_of_another_protocol_are_named_but_not_in_the_table(tmp_path: Path) -> None:
    store_record(tmp_path, make_record(make_spec(), 0.8, 1000))
    store_record(tmp_path, make_record(make_spec("alien", train=TrainSettings(epochs=3)), 0.99, 10))
    store_record(
        tmp_path, make_record(make_spec("alien", data=DataSettings(image_size=64)), 0.98, 10)
    )
    study = study_in(tmp_path)
    collection = collect(study, tmp_path)
    assert [record.spec.architecture for record in collection.comparisons[0].records] == ["vgg16"]
    said = text(study)
    assert "alien" not in said
    assert "train.epochs=3" in said
    assert "image_size=64" in said


def test_runs_on_other_data_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    store_record(tmp_path, make_record(make_spec(), 0.8, 1000))
    changed = DATA.__class__(**{**vars(DATA), "fingerprint": "e" * 16})
    store_record(tmp_path, make_record(make_spec("other", data_summary=changed), 0.9, 1000))
    comparisons = collect(study_in(tmp_path), tmp_path).comparisons
    assert [len(comparison.records) for comparison in comparisons] == [1, 1]


def test_a_record_that_does_not_match_its_spec_is_rejected(tmp_path: Path) -> None:
    record = make_record(make_spec(), 0.8, 1000)
    store_record(tmp_path, record)
    path = RunFolder.of(tmp_path, record.spec).path / files.RECORD
    path.write_text(path.read_text().replace(f'"run_id": "{record.run_id}"', '"run_id": "0"'))
    assert not collect(study_in(tmp_path), tmp_path).comparisons[0].records


def test_a_record_of_another_format_is_refused_in_words(tmp_path: Path) -> None:
    """Older or newer: it is listed as invalid."""
    store_record(tmp_path, make_record(make_spec("vgg16"), 0.8, 1000))
    for name, version in (("resnet18", 1), ("resnet34", 99)):
        record = make_record(make_spec(name), 0.8, 1000)
        store_record(tmp_path, record)
        path = RunFolder.of(tmp_path, record.spec).path / files.RECORD
        path.write_text(path.read_text().replace('"version": 4', f'"version": {version}', 1))
    said = text(study_in(tmp_path))
    for version in (1, 99):
        assert f"its record has format {version}, and this bench reads 2 to 4" in said
    spoilt = RunFolder.of(tmp_path, make_spec("vgg16"))
    (spoilt.path / files.SPEC).write_text("{}")
    (spoilt.path / files.RECORD).unlink()
    assert "1 with settings that this version of bench cannot read" in text(study_in(tmp_path))


def test_every_format_says_the_same(tmp_path: Path) -> None:
    study = published(tmp_path)
    fail(tmp_path, make_spec("resnet18"), "why")
    rows = list(csv.DictReader(io.StringIO(text(study, "csv"))))
    finished = {row["architecture"]: row for row in rows if row["status"] == "finished"}
    assert set(finished) == {"vgg16", "densenet121", "efficientnet_b0"}
    assert any("why" in row["status"] for row in rows)
    report = json.loads(text(study, "json"))
    (comparison,) = report["comparisons"]
    for row in comparison["rows"]:
        assert float(finished[row["architecture"]]["test_accuracy"]) == row["test_accuracy"]
        assert int(finished[row["architecture"]]["flops"]) == 2 * row["macs"]
    assert comparison["pick"]["trade_off"] == "efficientnet_b0"
    assert comparison["failed"][0]["reason"] == "why"


def test_every_metric_is_in_every_format_and_a_column(tmp_path: Path) -> None:
    """Without a format writer that names it."""
    record = make_record(make_spec(), 0.8, 1000)
    values = {name: 0.5 + place / 100 for place, name in enumerate(METRICS)}
    test = dataclasses.replace(record.test, metrics={**values, "accuracy": 0.8})
    store_record(tmp_path, record.model_copy(update={"test": test}))
    study = study_in(tmp_path)
    (row,) = csv.DictReader(io.StringIO(text(study, "csv")))
    (nested,) = json.loads(text(study, "json"))["comparisons"][0]["rows"]
    (created,) = make_rows(collect(study, tmp_path).comparisons[0])
    logged = final_metrics(record.model_copy(update={"test": test}))
    for name, metric in METRICS.items():
        value = test.metrics[name]
        assert float(row[f"test_{name}"]) == nested[f"test_{name}"] == value
        assert logged[f"test/{name}"] == value
        assert COLUMNS[metric.option].of(created) == metric.scaled(value)


def test_a_metric_that_one_seed_lacks_is_not_averaged(tmp_path: Path) -> None:
    for seed, more in enumerate(({"auroc": 0.9}, {})):
        record = make_record(make_spec(seed=seed), 0.8, 1000)
        test = dataclasses.replace(record.test, metrics={**record.test.metrics, **more})
        store_record(tmp_path, record.model_copy(update={"test": test}))
    (row,) = make_rows(collect(study_in(tmp_path), tmp_path).comparisons[0])
    assert set(row.metrics) == {"accuracy", "macro_f1", "loss"}
    assert COLUMNS["auroc"].of(row) is None


def test_counters_that_lie_apart_are_marked(tmp_path: Path) -> None:
    record = make_record(make_spec(), 0.8, 1000)
    assert record.cost is not None
    store_record(tmp_path, record.model_copy(update={"cost": make_cost("vgg16", 1000, flopth=900)}))
    study = study_in(tmp_path)
    assert "-10.00 % (!)" in text(study)


def test_measurements_stand_beside_counts_and_a_busy_machine_is_said(tmp_path: Path) -> None:
    quiet, busy = make_measured(5.0), make_measured(2.0, busy="other processes used 1.0 of 2 cores")
    store_record(tmp_path, make_record(make_spec("vgg16"), 0.8, 10**9, quiet))
    store_record(tmp_path, make_record(make_spec("resnet18"), 0.7, 10**8, busy))
    study = study_in(tmp_path, "vgg16", "resnet18")
    said = text(study)
    assert "### Measured on cpu, 2 threads, float32, 112 x 112 px" in said
    assert (
        "| vgg16 | 5.0 ms | 3 | 6.0 ms | 200.0 | 400 images/s at batch 4 | 400.0 | 50 MiB |" in said
    )
    assert "resnet18: not comparable, the machine was busy: other processes used 1.0" in said


def test_of_several_seeds_the_undisturbed_measurement_is_shown(tmp_path: Path) -> None:
    for seed, measured in enumerate((make_measured(9.0, busy="a guest"), make_measured(5.0))):
        store_record(tmp_path, make_record(make_spec(seed=seed), 0.8, 1000, measured))
    (row,) = make_rows(collect(study_in(tmp_path), tmp_path).comparisons[0])
    assert row.measured == make_measured(5.0)


def test_training_time_includes_features_that_came_from_the_cache(tmp_path: Path) -> None:
    """The cost of a training must not depend on what an earlier run has left in the cache."""
    for name, accuracy, reused_seconds in (("vgg16", 0.8, 40.0), ("resnet18", 0.7, None)):
        record = make_record(make_spec(name), accuracy, 10**9)
        training = dataclasses.replace(record.training, seconds=2.0, reused_seconds=reused_seconds)
        store_record(tmp_path, record.model_copy(update={"training": training}))
    study = study_in(tmp_path, "vgg16", "resnet18")
    (known, unknown) = read_report(study, Path("s.yaml")).analyses[0].rows
    time = COLUMNS["time"]
    assert (known.train_s, time.of(known)) == (42.0, 42.0)
    assert (unknown.train_s, time.of(unknown)) == (2.0, None)
    markdown = text(study)
    assert "Features of vgg16 were read from the cache; training time includes their" in markdown
    assert "Features of resnet18 were read from the cache; their computation time is" in markdown
    assert "features reused" in text(study, "html")


def test_synthetic_data_and_random_weights_are_said(tmp_path: Path) -> None:
    study = published(tmp_path)
    said = text(study)
    assert "do not transfer to real images" in said
    assert "Weights are random for" in said


@pytest.mark.parametrize("form", ["md", "html", "latex"])
def test_the_deployed_form_is_marked_and_what_training_takes_is_reported(
    tmp_path: Path, form: str
) -> None:
    said = " ".join(text(two_forms(tmp_path), form).replace(r"\_", "_").split())
    assert "0.275 G (d)" in said
    assert "mobileone_s0 1.052 G MACs and 5.29 M parameters" in said


@pytest.mark.parametrize("form", ["csv", "json"])
def test_programs_are_given_both_forms(tmp_path: Path, form: str) -> None:
    said = text(two_forms(tmp_path), form)
    rows = (
        list(csv.DictReader(io.StringIO(said)))
        if form == "csv"
        else json.loads(said)["comparisons"][0]["rows"]
    )
    (row,) = (row for row in rows if row["architecture"] == "mobileone_s0")
    assert (int(row["macs"]), int(row["training_macs"])) == (275 * 10**6, 1052 * 10**6)
    assert (int(row["params"]), int(row["training_params"])) == (2_080_000, 5_290_000)


def test_a_format_gets_the_options_that_its_entry_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("report_in_capitals")
    monkeypatch.setattr(
        module, "render_loud", lambda *report, **options: f"{len(report)} {options}", raising=False
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    entry = ReportFormat("loud", ".loud", module.__name__, takes=("images",))
    monkeypatch.setitem(FORMATS, entry.name, entry)
    assert text(published(tmp_path), "loud") == "3 {'images': True}"


def two_forms(root: Path) -> StudySettings:
    """A network that is deployed in another form than it trains in, and one that is not."""
    record = make_record(make_spec("mobileone_s0"), 0.8, 275 * 10**6)
    assert record.cost is not None
    cost = dataclasses.replace(
        record.cost, params=2_080_000, training_macs=1052 * 10**6, training_params=5_290_000
    )
    store_record(root, record.model_copy(update={"cost": cost}))
    store_record(root, make_record(make_spec("vgg16"), 0.7, 10**9))
    return study_in(root, "mobileone_s0", "vgg16")


@pytest.mark.parametrize("width", [80, 140])
def test_a_terminal_shows_the_pick_and_an_aligned_table(tmp_path: Path, width: int) -> None:
    """A file and `--format md` get the whole report; see also `test_pick`."""
    names = [entry.name for entry in published(tmp_path / "mlruns").architectures]
    text = f"study: s\ndata: {{source: demo}}\narchitectures: [{', '.join(names)}]\n"
    (tmp_path / "study.yaml").write_text(text)
    command = ["report", "-c", "study.yaml"]
    shown = run_in_terminal(command, tmp_path, (width, 40))
    lines = shown.scrollback
    assert shown.code == 0
    assert shown.widest <= width
    assert lines[0].startswith("Pick efficientnet_b0: 2.6 points below vgg16, 39x fewer MACs.")
    rows = [line for line in lines if " G " in line]
    assert len(rows) == 3
    assert len({line.index(" G ") for line in rows}) == 1
    (picked,) = (line for line in rows if "(pick)" in line)
    assert picked.split()[0] == "efficientnet_b0"
    (last,) = (line for line in lines if line.startswith("Next"))
    assert last.startswith(
        "Next, with the same -c and --set: bench report -o report.html · bench ui"
    )
    assert ("bench deploy" in " ".join(map(str.strip, lines))) == ("deploy" in main.commands)
    whole = run_in_terminal([*command, "--format", "md"], tmp_path, (200, 100))
    assert any(line.startswith("| architecture |") for line in whole.scrollback)
