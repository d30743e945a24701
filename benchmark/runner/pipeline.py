"""What happens in one run, stage by stage: data, build, cost, train, evaluate, measure, save."""

from __future__ import annotations

import contextlib
import datetime
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import pandas as pd
import torch
from pydantic import TypeAdapter

from benchmark.environment import describe_environment
from benchmark.plan import RunSpec
from benchmark.record import RunRecord, Stage
from benchmark.report.plots import draw_confusion
from benchmark.runner import run_folder as files
from benchmark.runner.events import EpochDone, Event, Note, Progress, StageStarted
from benchmark.runner.run_folder import RunFolder
from clothclf.cost.count import CostRequest, count_cost
from clothclf.cost.measure import measure_cost
from clothclf.cost.peak_memory import highest_resident_bytes
from clothclf.data.atomic import write_text
from clothclf.data.batches import ImageBatches
from clothclf.data.dataset import SplitImages, open_pixels
from clothclf.data.splits import SPLITS
from clothclf.errors import CostError
from clothclf.models.build import build_classifier
from clothclf.models.weights import state_hash
from clothclf.results import Cost, EpochResult, Evaluation, MeasuredCost
from clothclf.training.device import choose_device, device_name, make_repeatable
from clothclf.training.evaluate import evaluate, predict, predictions_table
from clothclf.training.loop import Watcher, train

if TYPE_CHECKING:
    from clothclf.models.classifier import Classifier

Emit = Callable[[Event], None]
COST: TypeAdapter[Cost] = TypeAdapter(Cost)


class Pipeline:
    """One run on its way: `carry_out` goes through the stages and writes the record last."""

    def __init__(self, spec: RunSpec, folder: RunFolder, emit: Emit) -> None:
        """`emit` hears of stages, progress and epochs."""
        self.spec = spec
        self.folder = folder
        self.emit = emit
        self.stage: Stage = "start"
        self.stage_seconds: dict[str, float] = {}

    def carry_out(self) -> RunRecord:
        """Run every stage; whatever a stage raises passes through, `stage` says which it was."""
        spec, classes = self.spec, self.spec.data_summary.classes
        started_at = _now()
        make_repeatable()
        device = choose_device(spec.device)
        with self._stage("data"):
            manifest = pd.read_parquet(self.folder.path / files.MANIFEST)
            pixels = open_pixels(spec.pixels)
            splits = {n: SplitImages.open(manifest, classes, pixels, n) for n in SPLITS}
        with self._stage("build"):
            classifier = build_from(spec)
            body_sha256 = state_hash(classifier.body)
        with self._stage("cost"):
            cost, cost_fault = self._count()
        with self._stage("train"):
            images = ImageBatches(
                splits,
                classifier.normalization,
                spec.train.augment,
                spec.train.batch_size,
                spec.seed,
                device,
            )
            training = train(classifier, images, spec.train, self._watcher(), spec.cache)
        with self._stage("evaluate"):
            test = self._evaluate(classifier, images)
        del images, splits, pixels  # measuring wants the memory, and a machine that rests
        with self._stage("measure"):
            measured, measured_fault = self._measure()
        with self._stage("save"):
            self._save_model(classifier)
        record = RunRecord(
            run_id=spec.run_id,
            spec=spec,
            cost=cost,
            cost_fault=cost_fault,
            measured=measured,
            measured_fault=measured_fault,
            training=training,
            test=test,
            body_sha256=body_sha256,
            environment=describe_environment(device_name(device), torch.get_num_threads()),
            stage_seconds=self.stage_seconds,
            peak_memory_bytes=highest_resident_bytes(),
            started_at=started_at,
            finished_at=_now(),
            files=self.folder.hashes(),
        )
        self.folder.write(files.RECORD, record)
        return record

    @contextlib.contextmanager
    def _stage(self, stage: Stage) -> Iterator[None]:
        self.stage = stage
        self.emit(StageStarted(stage=stage))
        started = time.perf_counter()
        yield
        self.stage_seconds[stage] = time.perf_counter() - started

    def _count(self) -> tuple[Cost | None, str]:
        """Count in a process apart; a fault is told, and the run goes on without a figure."""
        try:
            cost = count_cost(self._cost_request())
        except CostError as error:
            self.emit(Note(text=f"cost: {error}"))
            return None, str(error)
        write_text(
            self.folder.path / files.COST, COST.dump_json(cost, indent=1).decode("utf-8") + "\n"
        )
        return cost, ""

    def _measure(self) -> tuple[MeasuredCost | None, str]:
        """Measure in a process apart; a fault is told, and the run goes on without figures."""
        if not self.spec.measure:
            return None, ""
        batch = self.spec.train.batch_size
        try:
            return measure_cost(self._cost_request(), self.spec.device, 600, batch), ""
        except CostError as error:
            self.emit(Note(text=f"measure: {error}"))
            return None, str(error)

    def _cost_request(self) -> CostRequest:
        spec = self.spec
        return CostRequest(
            architecture=spec.architecture,
            image_size=spec.data.image_size,
            classes=len(spec.data_summary.classes),
            head=spec.head,
            frozen=spec.model.mode == "frozen",
            standardize=spec.model.standardize_features,
        )

    def _watcher(self) -> Watcher:
        epochs = self.spec.train.epochs
        log = self.folder.path / files.EPOCHS

        def on_epoch(result: EpochResult) -> None:
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(result)) + "\n")
            self.emit(EpochDone(result=result, epochs=epochs))

        def on_step(epoch: int, step: int, steps: int) -> None:
            self.emit(Progress(doing=f"epoch {epoch}/{epochs}", done=step, total=steps))

        def on_features(done: int, total: int) -> None:
            self.emit(Progress(doing="features", done=done, total=total))

        return Watcher(on_features, on_step, on_epoch)

    def _evaluate(self, classifier: Classifier, images: ImageBatches) -> Evaluation:
        """The one time that the test split is looked at."""
        classes = self.spec.data_summary.classes
        predictions = predict(classifier, images, "test", self.spec.cache)
        table = predictions_table(predictions, classes)
        table.to_parquet(self.folder.path / files.PREDICTIONS, index=False)
        evaluation = evaluate(predictions, classes)
        draw_confusion(evaluation, self.folder.path / files.CONFUSION, self.spec.name)
        return evaluation

    def _save_model(self, classifier: Classifier) -> None:
        from safetensors.torch import save_file

        full = self.spec.save_weights == "full"
        state = classifier.state_dict() if full else classifier.trained_state()
        tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
        save_file(tensors, self.folder.path / files.MODEL, {"run_id": self.spec.run_id})


def build_from(spec: RunSpec) -> Classifier:
    """The classifier of a run, on the CPU."""
    return build_classifier(
        spec.architecture,
        spec.head,
        spec.model,
        len(spec.data_summary.classes),
        spec.data.image_size,
        spec.weights,
        spec.seed,
        spec.precision,
    )


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
