"""Execute one run in stages: cost, data, build, tune, train, evaluate, save, measure."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from pydantic import TypeAdapter
from torch.distributed import destroy_process_group

from benchmark.engine.confusion_plot import draw_confusion
from benchmark.engine.memory_limit import limit_memory
from benchmark.engine.stages import StageCache
from benchmark.inference.load_teacher import open_teacher
from benchmark.runs import run_folder as files
from benchmark.runs.environment import describe_environment
from benchmark.runs.events import EpochDone, Event, Note, Progress, Resumed, StageStarted
from benchmark.runs.inputs import build_from, make_batches, open_splits
from benchmark.runs.record import RunRecord, Stage
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec, cost_request
from clothclf.cost.cache import cached_count
from clothclf.cost.measure.peak_memory import highest_resident_bytes
from clothclf.cost.measure.request import measure_cost
from clothclf.data.atomic import new_file, write_text
from clothclf.device import device_name, make_repeatable, select_device
from clothclf.errors import CostError, TrainingStopped
from clothclf.models.features import BackboneFeatures, can_cache_features
from clothclf.models.load_weights import state_hash
from clothclf.results import (
    Cost,
    EpochResult,
    Evaluation,
    MeasuredCost,
    Predictions,
    TrainingResult,
    TuningResult,
)
from clothclf.training.calibration import fit_temperature
from clothclf.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from clothclf.training.evaluate import evaluate, predictions_table
from clothclf.training.loop import Inputs, Watcher, open_inputs, train
from clothclf.training.predict import predict
from clothclf.training.tune import tune

if TYPE_CHECKING:
    from clothclf.data.batches import ImageBatches
    from clothclf.models.classifier import Classifier
    from clothclf.settings import TrainSettings, TuningSettings
    from clothclf.training.teacher import Teacher

Emit = Callable[[Event], None]
COST: TypeAdapter[Cost] = TypeAdapter(Cost)
MEASURED: TypeAdapter[MeasuredCost] = TypeAdapter(MeasuredCost)
TRAINED: TypeAdapter[tuple[TrainingResult, Evaluation, str, int]] = TypeAdapter(
    tuple[TrainingResult, Evaluation, str, int]
)
"""Training result, test evaluation, hash of the initial backbone, maximum resident bytes."""
TUNED: TypeAdapter[TuningResult] = TypeAdapter(TuningResult)
ONE_IS_ENOUGH = "features of the frozen backbone are cached, and one process trains its head"


class Stop:
    """Request to stop the run's process, and whether it may stop immediately."""

    def __init__(self) -> None:
        """Start without a request."""
        self.requested = False
        self.anywhere = True

    def request(self) -> None:
        """Request a stop from a signal handler; raise TrainingStopped unless training polls."""
        self.requested = True
        if self.anywhere:
            raise TrainingStopped


class Pipeline:
    """Executes one run: `run` runs the stages and writes the record last.

    Stages that an earlier process finished are not repeated.
    """

    def __init__(
        self,
        spec: RunSpec,
        folder: RunFolder,
        emit: Emit,
        stop: Stop,
        memory_bytes: int | None = None,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        """Report stages, progress and epochs to `emit`; poll `stop` during training.

        `memory_bytes` limits the memory of the process from training on. This process is the
        first of `group`; the others execute `run_follower`.
        """
        self.spec = spec
        self.folder = folder
        self.emit = emit
        self.stop = stop
        self.stage: Stage = "start"
        self.stage_seconds: dict[str, float] = {}
        self.memory_bytes = memory_bytes
        self.group = group
        self.cache = StageCache(folder)

    def run(self, measure: bool = True) -> RunRecord | None:
        """Run all stages and return the record; `stage` names the one that raised an error.

        Without `measure`, a run with a stage `measure` ends before it and returns None.
        """
        spec = self.spec
        started_at = _now()
        make_repeatable()
        device = select_device(spec.device) if self.group.size == 1 else self.group.device
        cost, cost_error = self._count()
        trained = self.cache.result("save", TRAINED)
        self.group.from_first(trained is not None)  # informs the other processes
        if trained is None:
            trained = self._train(device)
        training, test, backbone_sha256, peak_memory_bytes = trained
        if spec.measure and not measure:
            return None
        measured, measured_error = self._measure()
        record = RunRecord(
            run_id=spec.run_id,
            spec=spec,
            cost=cost,
            cost_error=cost_error,
            measured=measured,
            measured_error=measured_error,
            training=training,
            test=test,
            backbone_sha256=backbone_sha256,
            environment=describe_environment(
                device_name(device),
                torch.get_num_threads(),
                self.group.size if training.route == "images" else 1,
            ),
            stage_seconds={**self.cache.seconds(), **self.stage_seconds},
            peak_memory_bytes=peak_memory_bytes,
            started_at=started_at,
            finished_at=_now(),
            files=self.folder.hashes(),
        )
        self.folder.write(files.RECORD, record)
        self.folder.finish()
        return record

    @contextlib.contextmanager
    def _stage(self, stage: Stage) -> Iterator[None]:
        if self.stop.requested:  # and a library swallowed the exception of `Stop.request`
            raise TrainingStopped
        self.stage = stage
        self.emit(StageStarted(stage=stage))
        started = time.perf_counter()
        yield
        self.stage_seconds[stage] = time.perf_counter() - started

    def _train(self, device: torch.device) -> tuple[TrainingResult, Evaluation, str, int]:
        """Run the stages from `data` to `save`."""
        spec = self.spec
        with self._stage("data"):
            splits = open_splits(spec, self.folder, lambda text: self.emit(Note(text=text)))
        with self._stage("build"):
            classifier = build_from(spec)
            backbone_sha256 = state_hash(classifier.backbone)
        if self.memory_bytes is not None:
            limit_memory(self.memory_bytes)
        with self._stage("train"), self._stopping_by_itself():
            group = self._process_group(classifier)
            images = make_batches(spec, splits, classifier, device, group.shard)
            features = BackboneFeatures(classifier, images, spec.cache, backbone_sha256)
            teacher = open_teacher(spec, classifier, device)
            checkpoints = self.folder.path / files.CHECKPOINTS
            watcher = self._watcher()
            inputs = open_inputs(classifier, images, watcher, spec.cache, features)
            settings, tuned = spec.train, None
            if spec.tuning is not None:
                settings, tuned = self._tune(classifier, images, spec.tuning, inputs, teacher)
            training = train(
                *(classifier, images, settings, watcher, spec.cache, checkpoints, group),
                teacher=teacher,
                inputs=inputs,
            )
            training = dataclasses.replace(training, tuning=tuned)
            if group.size > 1:
                destroy_process_group()
        self.stage_seconds["train"] = training.seconds  # including earlier attempts
        with self._stage("evaluate"):
            test, temperature = self._evaluate(classifier, images, features)
            training = dataclasses.replace(training, temperature=temperature)
        with self._stage("save"):
            self._save_model(classifier)
            trained = (training, test, backbone_sha256, highest_resident_bytes())
            written = [files.EPOCHS, files.PREDICTIONS, files.CONFUSION, files.MODEL]
            written += [files.VALID_PREDICTIONS] if spec.evaluate == "test" else []
            self.cache.store("save", TRAINED, trained, self.stage_seconds, written)
        return trained

    def _tune(
        self,
        classifier: Classifier,
        images: ImageBatches,
        tuning: TuningSettings,
        inputs: Inputs,
        teacher: Teacher | None,
    ) -> tuple[TrainSettings, TuningResult]:
        """Run the trials that no earlier process finished, and return to the stage `train`."""
        trials = sum(count for count, _ in tuning.rungs(self.spec.train.epochs, inputs.heads_only))

        def on_step(trial: int, step: int, steps: int) -> None:
            self.emit(Progress(doing=f"trial {trial}/{trials}", done=step, total=steps))

        watcher = Watcher(
            on_step=on_step,
            on_note=lambda text: self.emit(Note(text=text)),
            should_stop=lambda: self.stop.requested,
        )
        with self._stage("tune"):
            settings, tuned = tune(
                classifier,
                images,
                self.spec.train,
                tuning,
                inputs,
                watcher,
                lambda result: self.cache.store("tune", TUNED, result, self.stage_seconds),
                self.cache.result("tune", TUNED),
                teacher,
            )
        self.stage_seconds["tune"] = tuned.seconds  # including earlier attempts
        self.stage = "train"
        self.emit(StageStarted(stage="train"))
        return settings, tuned

    def _process_group(self, classifier: Classifier) -> ProcessGroup:
        """Return the process group; a single process is enough to train on cached features."""
        if self.group.size == 1 or not can_cache_features(classifier, self.spec.train.augment):
            return self.group
        self.emit(Note(text=f"{self.spec.name}: {ONE_IS_ENOUGH}"))
        return SINGLE_PROCESS

    @contextlib.contextmanager
    def _stopping_by_itself(self) -> Iterator[None]:
        """Defer stop requests within the context to the training, which writes a checkpoint."""
        self.stop.anywhere = False
        yield
        self.stop.anywhere = True
        if self.stop.requested:
            raise TrainingStopped

    def _count(self) -> tuple[Cost | None, str]:
        """Count the cost in a separate process, unless it is cached.

        An error is reported, and the run continues without the cost.
        """
        if not self.spec.count:
            return None, "counting is disabled"
        cached = self.cache.result("cost", COST)
        if cached is not None:
            return cached, ""
        try:
            with self._stage("cost"):
                cost = cached_count(cost_request(self.spec), self.spec.cache)
        except CostError as error:
            self.emit(Note(text=f"cost: {error}"))
            return None, str(error)
        text = COST.dump_json(cost, indent=1).decode("utf-8") + "\n"
        write_text(self.folder.path / files.COST, text)
        self.cache.store("cost", COST, cost, self.stage_seconds, [files.COST])
        return cost, ""

    def _measure(self) -> tuple[MeasuredCost | None, str]:
        """Measure time and memory in a separate process; after an error, continue without them."""
        if not self.spec.measure:
            return None, ""
        cached = self.cache.result("measure", MEASURED)
        if cached is not None:
            return cached, ""
        batch = self.spec.train.batch_size
        try:
            with self._stage("measure"):
                measured = measure_cost(cost_request(self.spec), self.spec.device, 600, batch)
        except CostError as error:
            self.emit(Note(text=f"measure: {error}"))
            return None, str(error)
        self.cache.store("measure", MEASURED, measured, self.stage_seconds)
        return measured, ""

    def _watcher(self) -> Watcher:
        epochs = self.spec.train.epochs
        log = self.folder.path / files.EPOCHS
        log.unlink(missing_ok=True)
        cached_features = False

        def write(result: EpochResult) -> None:
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(result)) + "\n")

        def on_epoch(result: EpochResult) -> None:
            write(result)
            done = EpochDone(result=result, epochs=epochs, cached_features=cached_features)
            self.emit(done)

        def on_resumed(done: list[EpochResult], steps: int) -> None:
            for result in done:
                write(result)
            self.emit(Resumed(epochs=len(done), steps=steps))

        def on_step(epoch: int, step: int, steps: int) -> None:
            self.emit(Progress(doing=f"epoch {epoch}/{epochs}", done=step, total=steps))

        def on_features(done: int, total: int) -> None:
            nonlocal cached_features
            cached_features = True
            self.emit(Progress(doing="features", done=done, total=total))

        return Watcher(
            on_features=on_features,
            on_step=on_step,
            on_epoch=on_epoch,
            on_resumed=on_resumed,
            on_note=lambda text: self.emit(Note(text=text)),
            should_stop=lambda: self.stop.requested,
        )

    def _evaluate(
        self, classifier: Classifier, images: ImageBatches, features: BackboneFeatures
    ) -> tuple[Evaluation, float | None]:
        """Evaluate the final model on the split of the spec. Nothing else uses the test split.

        Also stores the predictions for the validation split, on which reports choose, and returns
        the temperature that fits them.
        """
        classes = self.spec.data_summary.classes

        def store(split: str, name: str) -> Predictions:
            predictions = predict(classifier, images, split, self.spec.cache, features)
            table = predictions_table(predictions, classes)
            table.to_parquet(self.folder.path / name, index=False)
            return predictions

        predictions = store(self.spec.evaluate, files.PREDICTIONS)
        temperature = None
        if self.spec.evaluate == "test":
            valid = store("valid", files.VALID_PREDICTIONS)
            temperature = fit_temperature(valid.probabilities, valid.targets)
        evaluation = evaluate(predictions, classes)
        draw_confusion(evaluation, self.folder.path / files.CONFUSION, self.spec.name)
        return evaluation, temperature

    def _save_model(self, classifier: Classifier) -> None:
        from safetensors.torch import save_file

        full = self.spec.save_weights == "full"
        state = classifier.state_dict() if full else classifier.trained_state()
        tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
        with new_file(self.folder.path / files.MODEL) as unfinished:
            save_file(tensors, unfinished, {"run_id": self.spec.run_id})


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
