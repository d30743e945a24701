"""A report over several input sizes: one table, each row by its size, sizes joined in the chart."""

from __future__ import annotations

from pathlib import Path

from benchmark.config.study import StudySettings, TrackingSettings
from benchmark.report.analysis import analyse
from benchmark.report.charts.pareto import pareto, pareto_data
from benchmark.report.charts.style import LIGHT
from benchmark.report.collect import collect
from benchmark.report.columns import COLUMNS
from benchmark.report.data_formats import flat_row
from benchmark.report.markdown import render_md
from benchmark.report.render import columns, table_cells
from clothclf.settings import ArchitectureSettings, DataSettings
from tests.benchmark.examples import make_record, make_spec
from tests.benchmark.test_report_contents import store_record

SWEEP = DataSettings(image_size=(64, 96))


def swept(folder: Path, *sizes: int) -> StudySettings:
    for size in sizes:
        spec = make_spec("vgg16", data=SWEEP, image_size=size, several_sizes=True)
        store_record(folder, make_record(spec, 0.5 + size / 1000, size * 1000))
    return StudySettings(
        study="s",
        data=SWEEP,
        architectures=(ArchitectureSettings(name="vgg16"),),
        tracking=TrackingSettings(folder=folder),
    )


def test_sizes_of_an_architecture_are_rows_that_say_their_size(tmp_path: Path) -> None:
    collection = collect(swept(tmp_path, 64, 96), tmp_path)
    analysis = analyse(collection.comparisons[0], tmp_path)
    assert [row.name for row in analysis.rows] == ["vgg16 @ 96", "vgg16 @ 64"]
    assert columns(analysis)[1] == "px"
    cells = table_cells(analysis, ["vgg16 @ 112, seed 0"])
    assert [row[1] for row in cells] == ["96", "64", "-"]
    assert {len(row) for row in cells} == {len(columns(analysis))}
    assert [flat_row(analysis, place)["image_size"] for place in (0, 1)] == [96, 64]


def test_one_size_needs_no_column_and_no_mark(tmp_path: Path) -> None:
    store_record(tmp_path, make_record(make_spec("vgg16"), 0.5, 1000))
    study = StudySettings(study="s", architectures=(ArchitectureSettings(name="vgg16"),))
    analysis = analyse(collect(study, tmp_path).comparisons[0], tmp_path)
    assert analysis.rows[0].name == "vgg16"
    assert "px" not in columns(analysis)
    assert {len(row) for row in table_cells(analysis, ["a"])} == {len(columns(analysis))}


def test_a_size_that_has_not_been_run_is_reported(tmp_path: Path) -> None:
    study = swept(tmp_path, 64)
    collection = collect(study, tmp_path)
    assert collection.not_started == ["vgg16 @ 96, seed 0"]
    analysis = analyse(collection.comparisons[0], tmp_path)
    assert "64 x 64 px" in render_md(study, collection, [analysis])


def test_a_further_size_leaves_the_runs_of_the_others_in_the_table(tmp_path: Path) -> None:
    study = swept(tmp_path, 64, 96)
    longer = study.model_copy(update={"data": DataSettings(image_size=(64, 96, 160))})
    assert len(collect(longer, tmp_path).comparisons[0].records) == 2


def test_the_chart_joins_the_sizes_of_one_architecture(tmp_path: Path) -> None:
    collection = collect(swept(tmp_path, 64, 96), tmp_path)
    analysis = analyse(collection.comparisons[0], tmp_path)
    families = {point["family"] for point in pareto_data(analysis, COLUMNS["macs"])}
    assert len(families) == 1
    first = pareto(analysis, COLUMNS["macs"], LIGHT).to_dict()["layer"][0]
    assert first["mark"]["type"] == "line"
    assert first["encoding"]["detail"]["field"] == "family"
