"""Follower processes of a distributed run: train with the first process, write no results."""

from __future__ import annotations

import signal

from torch.distributed import destroy_process_group

from benchmark.engine.memory_limit import limit_memory
from benchmark.engine.pipeline import Stop
from benchmark.inference.load_teacher import open_teacher
from benchmark.runs import run_folder as files
from benchmark.runs.inputs import build_from, make_batches, open_splits
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from clothclf.device import make_repeatable
from clothclf.models.features import can_cache_features
from clothclf.training.distributed.process_group import ProcessGroup
from clothclf.training.loop import Watcher, train


def run_follower(
    spec: RunSpec, folder: RunFolder, group: ProcessGroup, stop: Stop, memory_bytes: int | None
) -> None:
    """Train with the first process, unless training is finished or needs only one process.

    Raises TrainingStopped if one of the processes is requested to stop.
    """
    make_repeatable()
    splits = open_splits(spec, folder, print)  # the first process notifies the user
    classifier = build_from(spec)
    if memory_bytes is not None:
        limit_memory(memory_bytes)
    trained_before = group.from_first(False)
    if trained_before or can_cache_features(classifier, spec.train.augment):
        return
    images = make_batches(spec, splits, classifier, group.device, group.shard)
    teacher = open_teacher(spec, classifier, group.device)
    # Until here SIGTERM ends the process; from now on training polls, and all stop at one step.
    stop.anywhere = False
    signal.signal(signal.SIGTERM, lambda number, frame: stop.request())
    watcher = Watcher(should_stop=lambda: stop.requested)
    checkpoints = folder.path / files.CHECKPOINTS
    train(classifier, images, spec.train, watcher, spec.cache, checkpoints, group, teacher)
    destroy_process_group()
