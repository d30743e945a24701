"""Execute a plan: skip finished runs, resume unfinished ones, isolate failures."""

from __future__ import annotations

import contextlib
import functools
import logging
import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import filelock

from benchmark.engine.executors.base import Executor, RunAtWork
from benchmark.engine.executors.local import LocalExecutor
from benchmark.engine.process import Limits, failure_of
from benchmark.engine.stopping import StopRequest
from benchmark.runs.events import Note, Unmeasured, Waiting
from benchmark.runs.known_records import Records
from benchmark.runs.listener import Listener, StudyListener
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.run_folder import RunFolder, runs_root
from benchmark.runs.spec import RunSpec, folder_name

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.25
"""Polling interval in seconds for stop requests, timeouts and runs of other processes."""
STOP_GRACE_S = 20.0
"""Seconds for a step and a checkpoint, enough for the largest networks on a slow machine."""
STOPPING = (
    "Stopping after the current step, which is saved. Press Ctrl-C again to stop immediately."
)


@dataclass(frozen=True)
class Policy:
    """Options for the execution of a plan."""

    force: bool = False
    """Repeat finished runs from the beginning."""
    retry_failed: bool = False
    fail_fast: bool = False
    """Stop all runs after the first failure, and start no more."""
    workers: int = 1
    """Number of concurrent runs, which share the CPU cores."""
    processes_per_run: int = 1
    """Number of processes that train one network together; see `Limits.processes`."""
    timeout_s: float | None = None
    memory_bytes: int | None = None
    until: float | None = None
    """Time of `time.monotonic` at which all runs are stopped and no more are started."""
    finish_one: bool = False
    """Continue after `until` until at least one run is finished."""
    executor: Executor | None = None
    """Executor of the runs; by default this machine with `workers` concurrent runs."""

    def limits(self) -> Limits:
        """Return the resource limits of each run."""
        return Limits(self.timeout_s, self.memory_bytes, processes=self.processes_per_run)


DEFAULT_POLICY = Policy()


@dataclass(frozen=True)
class StudyOutcome:
    """Results of the runs of a plan."""

    skipped: Records = field(default_factory=Records)
    finished: Records = field(default_factory=Records)
    failed: list[Failure] = field(default_factory=list)
    failed_before: list[Failure] = field(default_factory=list)
    retried: list[str] = field(default_factory=list)
    """run_id of each finished run that was retried after its node was lost."""


def run_plan(
    plan: Sequence[RunSpec],
    root: Path,
    prepare_folder: Callable[[RunFolder, RunSpec], None],
    listeners: Sequence[Listener],
    policy: Policy = Policy(),
    stop: StopRequest | None = None,
) -> StudyOutcome:
    """Execute every run of the plan that has no valid record below `root`.

    `prepare_folder` writes the input files of a run to its folder. Raises KeyboardInterrupt after
    ending all processes if `stop` requests it.
    """
    schedule = _Schedule(root, prepare_folder, listeners, policy, stop or StopRequest())
    with contextlib.ExitStack() as around:
        for listener in listeners:
            if isinstance(listener, StudyListener):
                around.enter_context(listener.on_study(plan))
        return schedule.run(plan)


@dataclass
class _Running:
    process: RunAtWork
    lock: filelock.BaseFileLock


class _Schedule:
    def __init__(
        self,
        root: Path,
        prepare_folder: Callable[[RunFolder, RunSpec], None],
        listeners: Sequence[Listener],
        policy: Policy,
        stop: StopRequest,
    ) -> None:
        self.root = root
        self.prepare_folder = prepare_folder
        self.listeners = listeners
        self.policy = policy
        self.stop = stop
        self.outcome = StudyOutcome()
        self.running: list[_Running] = []
        self.elsewhere: deque[RunSpec] = deque()
        self.unmeasured: deque[RunSpec] = deque()
        self.started: set[str] = set()
        self.waited_for: set[str] = set()
        self.reported_reason = ("", "")
        self.untold: deque[Callable[[], None]] = deque()
        self.ended_locks: list[filelock.BaseFileLock] = []
        self.given_up = False
        self.executor = policy.executor or LocalExecutor(policy.limits(), policy.workers)

    def run(self, plan: Sequence[RunSpec]) -> StudyOutcome:
        """Execute the runs of a plan, and return their results."""
        queue = deque(plan)
        try:
            while queue or self.running:
                while queue and not self._is_ending() and self._can_start(queue[0]):
                    self._start_if_needed(queue.popleft())
                self._notify_all()
                if not self.running and self._is_ending():
                    break
                self._watch()
            self._notify_all()
            self._measure_one_by_one()
            self._wait_for_others()
        except BaseException:
            self._end_all()
            raise
        if self.stop.requested:
            raise KeyboardInterrupt
        return self.outcome

    def _can_start(self, spec: RunSpec) -> bool:
        """Whether the next run can start; the listeners get the reason if not, once each."""
        reason = self.executor.waits_for(spec, len(self.running))
        if reason and (spec.run_id, reason) != self.reported_reason:
            self.reported_reason = (spec.run_id, reason)
            for listener in self.listeners:
                listener.on_event(spec, Waiting(reason=reason))
        return not reason

    def _is_ending(self) -> bool:
        return self.stop.requested or self.given_up or self._is_late()

    def _is_late(self) -> bool:
        until = self.policy.until
        if until is None or time.monotonic() < until:
            return False
        return bool(self.outcome.finished or not self.policy.finish_one)

    def _measure_one_by_one(self) -> None:
        """Measure concurrent runs at the end, one at a time, so that nothing else is computing."""
        while self.unmeasured and not self._is_ending():
            self._start_if_needed(self.unmeasured.popleft(), measure=True)
            while self.running:
                self._watch()
            self._notify_all()

    def _wait_for_others(self) -> None:
        """Wait for runs that other processes execute, and take over those that were abandoned."""
        while self.elsewhere and not self._is_ending():
            for _ in range(len(self.elsewhere)):
                self._start_if_needed(self.elsewhere.popleft(), measure=True)
                while self.running:
                    self._watch()
                self._notify_all()
            self._notify_tick()
            time.sleep(POLL_INTERVAL_S)

    def _start_if_needed(self, spec: RunSpec, measure: bool | None = None) -> None:
        """Start a run unless it is finished, has failed before, or is locked by another process.

        Pending notifications are sent afterwards, while the new process starts up.
        """
        self._start(spec, self.executor.measures_at_once if measure is None else measure)
        self._notify_all()

    def _start(self, spec: RunSpec, measure: bool) -> None:
        folder = RunFolder.of(self.root, spec)
        try:
            lock = self._lock(spec)
        except OSError as error:
            self._failed(folder, _could_not_start(spec, folder, error))
            return
        if not lock.is_locked:
            if spec.run_id not in self.waited_for:
                self._notify(lambda listener: listener.on_elsewhere(folder, spec))
            self.waited_for.add(spec.run_id)
            self.elsewhere.append(spec)
            return
        if not self._is_to_run(folder, spec):
            lock.release()
            return
        try:
            force = self.policy.force and spec.run_id not in self.started
            resumed = folder.start(spec, fresh=force)
            self.prepare_folder(folder, spec)
            self.started.add(spec.run_id)
            logger.info("starting %s in %s", spec.name, folder.path)
            self.running.append(_Running(self.executor.start(spec, folder, measure), lock))
            self._notify(lambda listener: listener.on_started(folder, spec, resumed))
        except OSError as error:
            lock.release()
            self._failed(folder, _could_not_start(spec, folder, error))

    def _lock(self, spec: RunSpec) -> filelock.BaseFileLock:
        """Try to lock the run; a process's locks end with it, so a dead one cannot hold it."""
        folder_ = runs_root(self.root, spec.study) / ".locks"
        folder_.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder_ / f"{folder_name(spec)}.lock")
        with contextlib.suppress(filelock.Timeout):
            lock.acquire(timeout=0)
        return lock

    def _is_to_run(self, folder: RunFolder, spec: RunSpec) -> bool:
        if self.policy.force and spec.run_id not in self.waited_for:
            return True
        record = folder.verified_record()
        if record is not None:
            self.outcome.skipped.add(folder)
            self._notify(lambda listener: listener.on_skipped(folder, record))
            return False
        failure = folder.failure()
        if failure is not None and not failure.lost and not self.policy.retry_failed:
            self.outcome.failed_before.append(failure)
            self._notify(lambda listener: listener.on_failed_before(folder, failure))
            return False
        return True

    def _watch(self) -> None:
        """Wait briefly for events, forward them, and handle runs that have ended."""
        with selectors.DefaultSelector() as selector:
            for running in self.running:
                selector.register(running.process, selectors.EVENT_READ, running)
            ready = [key.data for key, _ in selector.select(POLL_INTERVAL_S)]
        for running in ready:
            if self._pass_on(running.process):
                self._ended(running)
        for running in self.running:
            late = running.process.lateness()
            if late:
                running.process.end(late)
                self._ended(running)
        if self._is_ending() and self.running:
            self._stop_running()
        self._notify_tick()

    def _pass_on(self, process: RunAtWork) -> bool:
        """Forward new events to the listeners; return whether the run has ended."""
        events, closed = process.read()
        for event in events:
            for listener in self.listeners:
                listener.on_event(process.spec, event)
        return closed

    def _ended(self, running: _Running) -> None:
        spec, folder = running.process.spec, running.process.folder
        result = running.process.outcome()
        self.running = [other for other in self.running if other is not running]
        self.executor.ended(running.process)
        if isinstance(result, RunRecord):
            self.outcome.finished.add(folder)
            logger.info("finished %s", spec.name)
            self._notify(lambda listener: listener.on_finished(folder, result))
            if result.attempts > 1:
                self.outcome.retried.append(spec.run_id)
        elif isinstance(result, Failure):
            self._failed(folder, result)
        elif self._is_ending():
            self._notify(lambda listener: listener.on_interrupted(folder, spec))
        else:
            self.unmeasured.append(spec)
            self._notify(lambda listener: listener.on_event(spec, Unmeasured()))
        # Release the lock only after all notifications: its holder may log the run.
        self.ended_locks.append(running.lock)

    def _failed(self, folder: RunFolder, failure: Failure) -> None:
        self.outcome.failed.append(failure)
        name, stage = failure.spec.name, failure.stage
        logger.debug("%s failed in stage %s; end of its log:\n%s", name, stage, failure.log_tail)
        self.given_up = self.given_up or self.policy.fail_fast
        self._notify(lambda listener: listener.on_failed(folder, failure))

    def _stop_running(self) -> None:
        """Request all processes to stop, wait, and kill those that take too long."""
        for running in self.running:
            running.process.request_stop()
        if self.stop.requested:
            for listener in self.listeners:
                listener.on_event(self.running[0].process.spec, Note(text=STOPPING))
        end = time.monotonic() + STOP_GRACE_S
        for running in list(self.running):
            closed = False
            while not closed and time.monotonic() < end:
                closed = self._pass_on(running.process)
                time.sleep(0 if closed else 0.02)
            self._ended(running)
        self._notify_all()

    def _end_all(self) -> None:
        for running in self.running:
            running.process.end()
            self.executor.ended(running.process)
            running.lock.release()
        self.running = []
        self._release_ended()

    def _notify(self, call: Callable[[Listener], None]) -> None:
        """Queue a notification for every listener; `_notify_all` sends them in order."""
        self.untold += [functools.partial(call, listener) for listener in self.listeners]

    def _notify_all(self) -> None:
        while self.untold:
            self.untold.popleft()()
        self._release_ended()

    def _release_ended(self) -> None:
        while self.ended_locks:
            self.ended_locks.pop().release()

    def _notify_tick(self) -> None:
        for listener in self.listeners:
            listener.on_tick()


def _could_not_start(spec: RunSpec, folder: RunFolder, error: OSError) -> Failure:
    why = f"{error.filename or folder.path}: {error.strerror or error}"
    return failure_of(spec, "start", why)
