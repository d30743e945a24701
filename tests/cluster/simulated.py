"""Runs that take their time and do nothing: copies of one real run, for the real scheduler."""

from __future__ import annotations

import heapq
import itertools
import os
import random
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.runs import run_folder as files
from benchmark.runs.events import FREE_WORKER, EpochDone, Event
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec

if TYPE_CHECKING:
    from benchmark.engine.executors.base import RunAtWork

SEEDS = 5
"""Of each architecture, as in a study that wants a deviation."""


class Likeness:
    """A real run's record and files, to make others of the same size from."""

    def __init__(self, folder: RunFolder) -> None:
        """Read all of it once."""
        record = folder.verified_record()
        if record is None:
            raise SystemExit(f"{folder.path}: holds no finished run")
        self.record = record
        self.contents = {name: (folder.path / name).read_bytes() for name in folder.results()}
        self.bytes = sum(map(len, self.contents.values()))

    def plan(self, count: int, study: str) -> list[RunSpec]:
        """So many runs with run_ids of their own."""
        changes = (
            {
                "study": study,
                "architecture": f"simulated_{number // SEEDS}",
                "seed": number % SEEDS,
            }
            for number in range(count)
        )
        return [self.record.spec.model_copy(update=change) for change in changes]

    def write(self, spec: RunSpec, folder: RunFolder) -> None:
        """What a run of its kind leaves behind, the record last."""
        for name, content in self.contents.items():
            if name != files.SPEC:
                (folder.path / name).write_bytes(content)
        values = {"spec": spec, "run_id": spec.run_id, "files": folder.hashes()}
        folder.write(files.RECORD, self.record.model_copy(update=values))
        folder.finish()


class SimulatedRun:
    """One run: an event for each epoch of the likeness, then its files."""

    def __init__(self, spec: RunSpec, folder: RunFolder, likeness: Likeness) -> None:
        """It begins when its pipe is first written to."""
        self.spec, self.folder = spec, folder
        self.likeness = likeness
        self._epochs = iter(likeness.record.training.epochs)
        self._reads, self._writes = os.pipe()
        os.set_blocking(self._reads, False)

    def step(self) -> None:
        """Another epoch is done."""
        os.write(self._writes, b".")

    def hang_up(self) -> None:
        """Its files are there; no more events will come."""
        self.likeness.write(self.spec, self.folder)
        os.close(self._writes)

    def fileno(self) -> int:
        """Of the pipe."""
        return self._reads

    def read(self) -> tuple[list[Event], bool]:
        """An event for each byte that has come."""
        try:
            came = os.read(self._reads, 1000)
        except BlockingIOError:
            return [], False
        total = len(self.likeness.record.training.epochs)
        done = itertools.islice(self._epochs, len(came))
        return [EpochDone(result=result, epochs=total) for result in done], not came

    def lateness(self) -> str:
        """It never is."""
        return ""

    def request_stop(self) -> None:
        """It ends when it ends."""

    def end(self, why: str = "") -> None:
        """Nothing is to be ended."""

    def outcome(self) -> RunRecord | Failure | None:
        """The record."""
        os.close(self._reads)
        return self.folder.record()


class SimulatedExecutor:
    """So many workers, each with a run that takes some seconds; one thread is their clock."""

    measures_at_once = True

    def __init__(self, likeness: Likeness, workers: int, seconds: float) -> None:
        """A run takes half to one and a half times `seconds`."""
        self.likeness, self.workers, self.seconds = likeness, workers, seconds
        self._draw = random.Random(0)
        self._due: list[tuple[float, int, SimulatedRun, bool]] = []
        self._count = itertools.count()
        self._changed = threading.Condition()
        self._over = False
        self._clock = threading.Thread(target=self._tick, daemon=True)
        self._clock.start()

    def waits_for(self, spec: RunSpec, running: int) -> str:
        """A worker, unless one is idle."""
        return "" if running < self.workers else FREE_WORKER

    def start(self, spec: RunSpec, folder: RunFolder, measure: bool) -> SimulatedRun:
        """Begin one."""
        run = SimulatedRun(spec, folder, self.likeness)
        takes = self.seconds * self._draw.uniform(0.5, 1.5)
        epochs = len(self.likeness.record.training.epochs)
        now = time.monotonic()
        with self._changed:
            for epoch in range(1, epochs + 1):
                at = now + takes * epoch / (epochs + 1)
                heapq.heappush(self._due, (at, next(self._count), run, False))
            heapq.heappush(self._due, (now + takes, next(self._count), run, True))
            self._changed.notify()
        return run

    def ended(self, run: RunAtWork) -> None:
        """Nothing is to be taken back."""

    def close(self) -> None:
        """Stop the clock."""
        with self._changed:
            self._over = True
            self._changed.notify()
        self._clock.join()

    def _tick(self) -> None:
        while True:
            with self._changed:
                while not self._over and (not self._due or self._due[0][0] > time.monotonic()):
                    pause = self._due[0][0] - time.monotonic() if self._due else None
                    self._changed.wait(pause)
                if self._over:
                    return
                _, _, run, last = heapq.heappop(self._due)
            if last:
                run.hang_up()
            else:
                run.step()


def made_here(folder: Path) -> RunFolder:
    """A real run to copy: a small one that is trained here, unless it is there."""
    from benchmark.runs.run_folder import study_folders
    from tests.benchmark.conftest import run_bench

    (folder / "like.yaml").write_text(LIKE)
    done = run_bench(folder, "run", "--all", "-c", "like.yaml", timeout_s=1800)
    if done.code:
        raise SystemExit(done.err)
    return next(study_folders(folder / "mlruns", "like"))


LIKE = """\
study: like
data: {source: demo, image_size: 32, demo: {images_per_class: 20}}
architectures: [test_resnet]
model: {weights: none, mode: frozen}
train: {epochs: 10}
device: cpu
"""
