"""Deploy runs of a study: find them, measure their variants, pack kits and add their results."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from benchmark.config.study import StudySettings
from benchmark.deploy.deploy import DeployedRun, DeployOptions, deploy_run
from benchmark.errors import DeployError
from benchmark.runs.deployments import NAME
from benchmark.runs.find import FinishedRun
from benchmark.workflows.winner import find_rows, find_winner
from clothclf.errors import UserError

Which = Literal["pick", "front", "all"]
Notify = Callable[[str], None]


def checked_name(name: str) -> str:
    """Return the name of a device; raises DeployError if it cannot be one."""
    if not re.fullmatch(NAME, name):
        raise DeployError(
            f"device name {name[:80]!r}: use at most 60 letters, digits, spaces, '.', '_' and '-'"
        )
    return name


def find_runs(
    study: StudySettings,
    config: Path,
    requested: str | None,
    from_select: bool,
    which: str,
    notify: Notify,
) -> list[FinishedRun]:
    """Find the runs to deploy: `requested`, the pick, all on the Pareto front, or all.

    Raises ReportError if there are none.
    """
    if which == "pick":
        run, why = find_winner(requested, lambda: study, config, from_select)
        notify(f"deploying {run.name}, {why}")
        return [run]
    rows = find_rows(study, config, front=which == "front")
    notify(f"deploying {', '.join(run.record.spec.name for run in rows)}")
    return rows


def deploy_all(
    runs: Sequence[FinishedRun], options: DeployOptions, notify: Notify
) -> list[DeployedRun]:
    """Deploy several runs; a run that cannot be deployed is reported; the others continue.

    Raises the error of the last one if none could be deployed.
    """
    deployed = []
    failed: UserError | None = None
    for run in runs:
        try:
            run.require_model()
            deployed.append(deploy_run(run, options, notify))
        except UserError as error:
            failed = error
            if len(runs) > 1:
                notify(str(error))
    if failed is not None and not deployed:
        raise failed
    return deployed


def write_kit(runs: Sequence[DeployedRun], path: Path, images: str, notify: Notify) -> None:
    """Pack the variants that were measured on this machine into a kit; raises DeployError."""
    from benchmark.deploy.kit import pack

    count = pack(runs, path, images)
    notify(f"written to {path}: {count} artifacts; on the device: python {path.name} --name NAME")


def add_results(study: StudySettings, paths: Sequence[Path], notify: Notify) -> list[DeployedRun]:
    """Add the results of kits to the runs of a study; raises DeployError for an invalid one."""
    from benchmark.deploy.add_results import merge

    merged: dict[str, DeployedRun] = {}
    for path in paths:
        for run in merge(study, path, notify):
            merged[run.finished.record.run_id] = run
    return list(merged.values())


def log_runs(study: StudySettings, runs: Sequence[DeployedRun]) -> None:
    """Log results and files of variants to MLflow; raises TrackingError."""
    from benchmark.tracking.log_deployments import log_deployments
    from benchmark.workflows.log_results import log_results

    log_results(study, [run.finished for run in runs], log_deployments)
