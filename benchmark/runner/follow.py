"""What a run's other processes do: they train along with the first one, and write nothing."""

from __future__ import annotations

import signal

from benchmark.plan import RunSpec
from benchmark.runner import run_folder as files
from benchmark.runner.material import build_from, make_batches, open_splits
from benchmark.runner.memory_limit import limit_memory
from benchmark.runner.pipeline import Stop
from benchmark.runner.run_folder import RunFolder
from benchmark.teachers import open_teacher
from clothclf.models.features import body_runs_once
from clothclf.training.device import make_repeatable
from clothclf.training.loop import Watcher, train
from clothclf.training.team import Team, leave


def follow(
    spec: RunSpec, folder: RunFolder, team: Team, stop: Stop, memory_bytes: int | None
) -> None:
    """Train with the first process, unless it trained before or its body runs once.

    Raises TrainingStopped where one of the processes is asked to stop.
    """
    make_repeatable()
    splits = open_splits(spec, folder, print)  # the first process tells the user
    classifier = build_from(spec)
    if memory_bytes is not None:
        limit_memory(memory_bytes)
    trained_before = team.from_first(False)
    if trained_before or body_runs_once(classifier, spec.train.augment):
        return
    images = make_batches(spec, splits, classifier, team.device, team.share)
    teacher = open_teacher(spec, classifier, team.device)
    # Until here SIGTERM ends the process; from now on training looks, and all stop at one step.
    stop.anywhere = False
    signal.signal(signal.SIGTERM, lambda number, frame: stop.ask())
    watcher = Watcher(should_stop=lambda: stop.asked)
    checkpoints = folder.path / files.CHECKPOINTS
    train(classifier, images, spec.train, watcher, spec.cache, checkpoints, team, teacher)
    leave()
