"""Look up two runs in the report of their study, so that both commands agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.report.analysis import analyse
from benchmark.report.collect import beside
from benchmark.report.pairs import Pair
from benchmark.runs.find import FinishedRun
from benchmark.runs.run_folder import runs_root


@dataclass(frozen=True)
class InReport:
    """Pair of rows in the study's report that two runs belong to."""

    study: str
    pair: Pair
    sign: int
    """1 if the new run's row is the first of the pair, else -1."""
    pairs: int
    """Number of pairs tested in the report, for which p-values are adjusted."""
    one_run_each: bool
    """Whether each row is a single run; otherwise rows are means over several seeds."""


def find_in_report(baseline: FinishedRun, new: FinishedRun) -> InReport | None:
    """Find two runs in their study's report; None unless they are in different rows of it."""
    root = _root(baseline)
    if root is None or root != _root(new) or baseline.record.spec.study != new.record.spec.study:
        return None
    comparison = beside(baseline.record.spec, root)
    known = {record.run_id for record in comparison.records}
    if not {baseline.record.run_id, new.record.run_id} <= known:
        return None
    analysis = analyse(comparison, root)
    ours, theirs = (
        next(
            index
            for index, row in enumerate(analysis.rows)
            if run.record.run_id in {record.run_id for record in row.records}
        )
        for run in (baseline, new)
    )
    pair = analysis.pairs.get((min(ours, theirs), max(ours, theirs)))
    if pair is None:
        return None
    return InReport(
        study=baseline.record.spec.study,
        pair=pair,
        sign=1 if theirs < ours else -1,
        pairs=len(analysis.pairs),
        one_run_each=all(len(analysis.rows[index].records) == 1 for index in (ours, theirs)),
    )


def _root(run: FinishedRun) -> Path | None:
    """Tracking folder of a run; None if the run was copied elsewhere."""
    path = run.folder.path.resolve()
    if len(path.parents) < 3:
        return None
    root = path.parents[2]
    return root if path.parent == runs_root(root, run.record.spec.study) else None
