"""Tune training settings by short trials on the validation split, with successive halving."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence

from clothclf.data.batches import ImageBatches
from clothclf.errors import TrainingError
from clothclf.models.classifier import Classifier
from clothclf.results import Trial, TrialRung, TuningResult
from clothclf.settings import TrainSettings, TuningSettings
from clothclf.training.loop import Inputs, Watcher, train
from clothclf.training.teacher import Teacher


def tune(
    classifier: Classifier,
    images: ImageBatches,
    settings: TrainSettings,
    tuning: TuningSettings,
    inputs: Inputs,
    watcher: Watcher,
    on_trial: Callable[[TuningResult], None] = lambda result: None,
    done: TuningResult | None = None,
    teacher: Teacher | None = None,
) -> tuple[TrainSettings, TuningResult]:
    """Return the best of the settings of `tuning.points`, and the result of every trial.

    Each trial starts from the classifier's present state, which is restored at the end. `on_trial`
    gets the results so far after each one; trials of `done`, such a result, are not repeated.
    `watcher.on_step` gets the number of the trial instead of the epoch, and the steps of the whole
    trial. Raises TrainingError if all trials fail, and TrainingStopped if the watcher requests it.
    """
    points = tuning.points(settings)
    rungs = tuning.rungs(settings.epochs, inputs.heads_only)
    result = done or TuningResult(tuple(Trial(tuning.changed(point)) for point in points), 0)
    initial = {name: tensor.cpu() for name, tensor in classifier.trained_state().items()}
    running: Sequence[int] = range(len(points))
    number = 0
    for index, (count, epochs) in enumerate(rungs):
        running = _best(running, result, index - 1, count) if index else running
        for trial in running:
            number += 1
            known = result.trials[trial].rungs
            if len(known) > index:
                continue
            recipe = points[trial].shortened(epochs).model_copy(update={"patience": None})
            try:
                rung = _train(
                    classifier, images, recipe, _of_trial(watcher, number, epochs), inputs, teacher
                )
            finally:
                classifier.backbone_frozen = False
                classifier.zero_grad(set_to_none=True)
                classifier.load_state_dict(initial, strict=False)
            trials = list(result.trials)
            trials[trial] = dataclasses.replace(trials[trial], rungs=(*known, rung))
            result = TuningResult(tuple(trials), 0)
            on_trial(result)
    (chosen,) = _best(running, result, len(rungs) - 1, 1)
    last = result.trials[chosen].rungs[-1]
    if last.error:
        raise TrainingError(f"every trial of tuning failed: {last.error}")
    return points[chosen], dataclasses.replace(result, chosen=chosen)


def _best(trials: Sequence[int], result: TuningResult, index: int, count: int) -> list[int]:
    """Return the best trials of a rung in their order; ties of accuracy by loss, failed last."""

    def rank(trial: int) -> tuple[float, float]:
        rung = result.trials[trial].rungs[index]
        if rung.valid_accuracy is None or rung.valid_loss is None:
            return 1.0, math.inf
        return -rung.valid_accuracy, rung.valid_loss

    return sorted(sorted(trials, key=rank)[:count])


def _train(
    classifier: Classifier,
    images: ImageBatches,
    recipe: TrainSettings,
    watcher: Watcher,
    inputs: Inputs,
    teacher: Teacher | None,
) -> TrialRung:
    started = time.perf_counter()
    try:
        best = train(classifier, images, recipe, watcher, teacher=teacher, inputs=inputs).best
    except TrainingError as error:  # settings that diverge are a result, too
        seconds = time.perf_counter() - started
        return TrialRung(recipe.epochs, None, None, seconds, str(error))
    seconds = time.perf_counter() - started
    return TrialRung(recipe.epochs, best.valid_accuracy, best.valid_loss, seconds)


def _of_trial(watcher: Watcher, number: int, epochs: int) -> Watcher:
    def on_step(epoch: int, step: int, steps: int) -> None:
        watcher.on_step(number, (epoch - 1) * steps + step, epochs * steps)

    return Watcher(on_step=on_step, on_note=watcher.on_note, should_stop=watcher.should_stop)
