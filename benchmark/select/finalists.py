"""Report on the finalists of a selection."""

from __future__ import annotations

import contextlib
from pathlib import Path

from benchmark.config.study import StudySettings
from benchmark.errors import ReportError
from benchmark.report.analysis import analyse
from benchmark.report.collect import Collection, Comparison
from benchmark.report.pick_rule import Criteria
from benchmark.report.write import Report, read_report
from benchmark.select.selection_result import find_selected


def report_or_finalists(
    study: StudySettings, config: Path, criteria: Criteria, from_select: bool
) -> tuple[Report, str]:
    """Make a report on a study's runs, or on the finalists of its selection.

    Reports finalists with `from_select`, or if the study has no finished runs of its own. Also
    returns a sentence that names the selection, empty for the study's own runs. Raises
    ReportError if there is nothing to report.
    """
    if from_select:
        return _finalists(study, criteria)
    try:
        report = read_report(study, config, criteria)
    except ReportError as error:
        try:
            return _finalists(study, criteria)
        except ReportError:
            raise error from None
    if not any(analysis.rows for analysis in report.analyses):
        with contextlib.suppress(ReportError):
            return _finalists(study, criteria)
    return report, ""


def _finalists(study: StudySettings, criteria: Criteria) -> tuple[Report, str]:
    """Report the finalists that are comparable with the winner."""
    selected = find_selected(study)
    first = selected.winner.record.spec
    comparable = [
        record
        for record in selected.finalists
        if (record.spec.study, record.spec.protocol_id, record.spec.data_summary.fingerprint)
        == (first.study, first.protocol_id, first.data_summary.fingerprint)
    ]
    name = selected.result.selection
    others = len(selected.finalists) - len(comparable)
    elsewhere = [f"{others} other finalists of selection {name}"] if others else []
    comparison = Comparison(comparable, [], [])
    report = Report(
        study.model_copy(update={"study": first.study}),
        Collection([comparison], [], elsewhere),
        [analyse(comparison, study.tracking.folder.absolute(), criteria)],
    )
    return report, (
        f"reporting the finalists of selection {name}, whose winner is {selected.winner.name}"
    )
