"""Make a report: collect runs, analyse them and write one of the formats."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.config.study import StudySettings
from benchmark.errors import ReportError
from benchmark.report.analysis import Analysis, analyse, correct_by_row
from benchmark.report.collect import Collection, collect
from benchmark.report.data_formats import flat_row
from benchmark.report.formats import FORMATS
from benchmark.report.pick_rule import NO_CRITERIA, Criteria
from benchmark.report.slice_columns import slice_values
from benchmark.report.slices import MAX_ROWS, compare_slices
from benchmark.report.targets import require_target


def with_slices(analysis: Analysis, names: Sequence[str], study: StudySettings) -> Analysis:
    """Add the accuracy by slices of the columns `names`; raises ReportError if one has none."""
    correct = dict(list(correct_by_row(analysis).items())[:MAX_ROWS])
    if analysis.test is None or not correct or analysis.pick is None:
        raise ReportError("--by: no finished run has stored its predictions; run the study first")
    root = study.tracking.folder.absolute()
    pixels = analysis.comparison.pixels
    columns, ordered = slice_values(names, study.data, root, analysis.test, pixels)
    margin = analysis.pick.criteria.margin / 100
    compared = compare_slices(columns, correct, analysis.test.groups, margin, ordered)
    return dataclasses.replace(analysis, slices=compared)


@dataclass(frozen=True)
class Report:
    """Analysed runs of a study."""

    study: StudySettings
    collection: Collection
    analyses: list[Analysis]
    """One for each comparison of the collection, in order."""
    command: str = "bench report"
    """Command that makes this report, without criteria; the HTML page adds those chosen on it."""

    def by(self, names: Sequence[str]) -> Report:
        """Add accuracy by slices of the columns `names` to the first comparison."""
        if not names:
            return self
        first, *others = self.analyses
        sliced = [with_slices(first, names, self.study), *others]
        return dataclasses.replace(self, analyses=sliced)

    def text(self, form: str, images: bool = True) -> str:
        """Render in one of `FORMATS`; `images` adds thumbnails, to formats that take them."""
        options: dict[str, object] = {"images": images, "command": self.command}
        taken = {name: options[name] for name in FORMATS[form].takes}
        return FORMATS[form].load()(self.study, self.collection, self.analyses, **taken)

    def table(self) -> list[dict[str, object]]:
        """CSV rows of the first comparison's finished rows."""
        first = self.analyses[0]
        return [flat_row(first, index) for index in range(len(first.rows))]


def read_report(
    study: StudySettings, config: Path | None = None, criteria: Criteria = NO_CRITERIA
) -> Report:
    """Read and analyse the runs of a study.

    `config` is the study's path as the user gave it, if there is one, for the message. Raises
    ReportError if there are no runs, or if none was measured on the target of the criteria.
    """
    root = study.tracking.folder.absolute()
    collection = collect(study, root)
    if not collection.comparisons:
        others = f"; found {'; '.join(collection.elsewhere)}" if collection.elsewhere else ""
        raise ReportError(
            f"study {study.study!r} has no runs with these settings in {root}{others}; "
            f"run it first: bench run --all{f' -c {config}' if config else ''}"
        )
    analyses = [analyse(comparison, root, criteria) for comparison in collection.comparisons]
    if criteria.target is not None:
        require_target(analyses[0].deployed, criteria.target)
    return Report(study, collection, analyses)
