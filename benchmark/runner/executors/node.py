"""A run on a node of a Ray cluster: the very process that a run has here, in a folder of the node.

Its files come from the study's machine and go back there; only that machine talks to MLflow.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import os
import selectors
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from benchmark.plan import RunSpec
from benchmark.record import Failure, RunRecord
from benchmark.runner import run_folder as files
from benchmark.runner.executors import versions
from benchmark.runner.executors.parcel import (
    PIECE_BYTES,
    Begun,
    Ended,
    Lines,
    Message,
    Offer,
    Parcel,
    Piece,
    place,
    read_piece,
)
from benchmark.runner.executors.ray_words import fault_words
from benchmark.runner.process import RunProcess
from benchmark.runner.run_folder import RunFolder
from clothclf.data.atomic import new_file, write_bytes
from clothclf.data.checked import checksum_file

FOLDER_VARIABLE = "BENCH_NODE_FOLDER"
"""Of a node: where it keeps data, weights and the runs that it works on."""
LOOK_EVERY_S = 0.25
OWN_FILES = (files.SPEC, files.CONFIG, files.MANIFEST, files.FINDINGS)
"""Of the study's machine, which has them already."""


class Bell:
    """Tells runs on nodes that they are to stop; an actor on the study's machine.

    When that machine is gone, so is the bell, which its runs hear as well.
    """

    def __init__(self) -> None:
        """Nobody is to stop."""
        self._asked: dict[str, asyncio.Event] = {}

    async def wait(self, run: str) -> None:
        """Return when the run is to stop."""
        await self._asked.setdefault(run, asyncio.Event()).wait()

    async def ring(self, run: str) -> None:
        """The run is to stop."""
        self._asked.setdefault(run, asyncio.Event()).set()


def node_folder() -> Path:
    """Where this node keeps what it was given."""
    told = os.environ.get(FOLDER_VARIABLE)
    if told:
        return Path(told).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "bench-architectures"


def carry_out(parcel: Parcel, bell: Any) -> Iterator[Message]:
    """Carry out a run on this node; yield what it says while it goes on, then its files."""
    node = node_name()
    yield Begun(node)
    unlike = versions.difference(parcel.versions, versions.finder()(), node)
    if unlike:
        yield Ended("refused", unlike)
        return
    with contextlib.ExitStack() as around:
        try:
            folder = around.enter_context(_run_folder(parcel))
            spec = _unpack(parcel, folder)
            process = _start(parcel, spec, folder)
        except Exception as error:  # disk, network, object store: all are the node's, not the run's
            yield Ended("refused", f"node {node}: {fault_words(error, str(node_folder()))}")
            return
        around.callback(process.end)
        yield from _events(process, bell.wait.remote(parcel.run))
        result = process.outcome()
        yield from _results(folder, parcel)
        if isinstance(result, RunRecord):
            yield Ended("record", shared=_shared(node, parcel))
        else:
            yield Ended("failure" if isinstance(result, Failure) else "stopped")


def node_name() -> str:
    """This node, for people: its address, and the beginning of Ray's name for it."""
    import ray

    return f"{ray.util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()[:8]})"


@contextlib.contextmanager
def _run_folder(parcel: Parcel) -> Iterator[RunFolder]:
    """A folder for one run; those whose worker was killed are deleted first."""
    runs = node_folder() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    for lock_file in runs.glob("*.lock"):
        with contextlib.suppress(OSError, filelock.Timeout), filelock.FileLock(lock_file, 0):
            shutil.rmtree(lock_file.with_suffix(""), ignore_errors=True)
            lock_file.unlink()
    path = runs / parcel.run
    with filelock.FileLock(f"{path}.lock"):
        try:
            path.mkdir()
            yield RunFolder(path)
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _unpack(parcel: Parcel, folder: RunFolder) -> RunSpec:
    """Fill the run's folder; return the spec with this node's paths."""
    (folder.path / files.CHECKPOINTS).mkdir()
    for name, content in parcel.small.items():
        target = place(folder.path, name)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
    for name, offer in parcel.large.items():
        target = place(folder.path, name)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(_at_hand(offer, parcel.home), target)
    asked = RunSpec.model_validate_json(parcel.spec)
    weights = asked.weights
    if parcel.weights is not None:
        weights = dataclasses.replace(weights, path=_at_hand(parcel.weights, parcel.home))
    paths = {
        "pixels": _at_hand(parcel.pixels, parcel.home),
        "cache": node_folder() / "cache",
        "weights": weights,
    }
    spec = asked.model_copy(update=paths)
    folder.write(files.SPEC, spec)
    return spec


def _at_hand(offer: Offer, home: str) -> Path:
    """An offered file: at its own path, or in this node's cache, fetched if it is not there yet."""
    if offer.is_at(offer.path):
        return offer.path
    kept = node_folder() / "files" / f"{offer.digest}{offer.path.suffix}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{kept}.lock"):
        if not offer.is_at(kept):
            _fetch(offer, kept, home)
        if offer.checksums:
            write_bytes(checksum_file(kept), offer.checksums)
    return kept


def _fetch(offer: Offer, target: Path, home: str) -> None:
    """Bring a file here in pieces, each through the object store and checked."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(home, soft=False)
    remote = ray.remote(num_cpus=0, scheduling_strategy=there)(read_piece)
    with new_file(target) as unfinished:
        with unfinished.open("wb") as file:
            for start in range(0, offer.size, PIECE_BYTES):
                content, sha256 = ray.get(remote.remote(str(offer.path), start))
                if hashlib.sha256(content).hexdigest() != sha256:
                    raise OSError(f"{offer.called} came damaged")
                file.write(content)
        if not offer.is_at(unfinished):
            raise OSError(f"{offer.called} ({offer.path}) changed on the way")


def _start(parcel: Parcel, spec: RunSpec, folder: RunFolder) -> RunProcess:
    # Ray names the GPUs of a task that has some; one without must not take others'.
    limits = parcel.limits
    if not parcel.uses_gpus:
        limits = dataclasses.replace(limits, visible_gpus="")
    return RunProcess(spec, folder, limits)


def _events(process: RunProcess, asked: Any) -> Iterator[Lines]:
    """What the process says until it ends; it is asked to stop when the bell rings."""
    import ray

    told = False
    with selectors.DefaultSelector() as selector:
        selector.register(process, selectors.EVENT_READ)
        while True:
            selector.select(LOOK_EVERY_S)
            events, closed = process.read()
            if events:
                text = "".join(event.model_dump_json() + "\n" for event in events)
                yield Lines(text.encode())
            if closed:
                return
            late = process.lateness()
            if late:
                process.end(late)
                return
            if not told and ray.wait([asked], timeout=0, fetch_local=False)[0]:
                told = True
                process.ask_to_stop()


def _results(folder: RunFolder, parcel: Parcel) -> Iterator[Piece]:
    """The files that the run made or changed, the record last."""
    made = [path for path in sorted(folder.path.rglob("*")) if path.is_file()]
    made.sort(key=lambda path: path.name == files.RECORD)
    for path in made:
        name = path.relative_to(folder.path).as_posix()
        if name in OWN_FILES or path.name.startswith("."):
            continue
        digest, left = hashlib.sha256(), path.stat().st_size
        with path.open("rb") as file:
            while True:
                content = file.read(PIECE_BYTES)
                digest.update(content)
                left -= len(content)
                if left <= 0 or not content:
                    yield Piece(name, content, digest.hexdigest())
                    break
                yield Piece(name, content)


def _shared(node: str, parcel: Parcel) -> str:
    """Why figures of speed count for little where other runs may have had part of the node."""
    import ray

    own = ray.get_runtime_context().get_assigned_resources().get("CPU", 0.0)
    name = ray.get_runtime_context().get_node_id()
    (found,) = [item for item in ray.nodes() if item["NodeID"] == name]
    cores = found["Resources"].get("CPU", 0.0)
    if own >= cores:
        return ""
    return f"other runs could use its node ({own:g} of its {cores:g} CPUs were the run's own)"
