"""Signs in a training's epochs that its recipe does not suit it, in reports and on the terminal."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmark.report.analysis import analyse
from benchmark.report.caveats import caveats
from benchmark.report.training_notes import (
    FIRST,
    LAST,
    OVERCONFIDENT,
    RISING,
    SPLIT,
    WORSE_THAN_GUESSING,
    dominated_loss,
    training_notes,
)
from benchmark.runs.events import Progress, StageStarted
from benchmark.runs.run_folder import RunFolder
from benchmark.terminal.output import SILENCE_S, TerminalListener
from clothclf.results import EpochResult, TrainingResult
from tests.benchmark.drawn_study import make_study
from tests.benchmark.examples import make_record, make_spec
from tests.benchmark.live_study import Clock, epoch

ALLOWED = 5


def training(losses: list[float], accuracies: list[float], seconds: float = 2.0) -> TrainingResult:
    epochs = tuple(
        EpochResult(number, 0.5, 0.8, loss, accuracy, 0.001, 1.0, 100.0)
        for number, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), 1)
    )
    best = 1 + losses.index(min(losses))
    return TrainingResult(epochs, best, len(losses) < ALLOWED, "features", seconds)


@pytest.mark.parametrize(
    ("losses", "accuracies", "notes"),
    [
        ([0.6, 0.5, 0.4, 0.41, 0.42], [0.7, 0.8, 0.8, 0.8, 0.8], []),
        ([0.4, 0.41, 0.41, 0.41], [0.8, 0.8, 0.8, 0.8], [FIRST]),
        ([0.8, 0.7, 0.6, 0.5, 0.4], [0.6, 0.7, 0.8, 0.8, 0.8], [LAST]),
        ([0.6, 0.4, 0.5, 0.6], [0.7, 0.8, 0.82, 0.83], [OVERCONFIDENT]),
        ([0.6, 0.5, 0.4, 0.405, 0.41], [0.7, 0.8, 0.8, 0.81, 0.83], [RISING]),
        ([0.6, 0.4, 0.5, 0.6], [0.7, 0.8, 0.8, 0.79], []),
        ([9.0, 3.0, 4.0], [0.6, 0.6, 0.6], [WORSE_THAN_GUESSING]),
        ([9.0, 3.0, 3.1], [0.1, 0.1, 0.1], []),
    ],
)
def test_a_recipe_that_does_not_suit_shows_in_the_epochs(
    losses: list[float], accuracies: list[float], notes: list[str]
) -> None:
    assert training_notes(training(losses, accuracies), ALLOWED, 11) == notes


def test_batches_that_were_split_are_reported() -> None:
    split = dataclasses.replace(training([0.5, 0.4, 0.41], [0.8, 0.8, 0.8]), parts=2)
    assert training_notes(split, ALLOWED, 11) == [SPLIT]


def test_a_mean_loss_that_few_images_make_is_reported_from_an_honest_one() -> None:
    """Two images of 300 with the right class at 0, against 30 wrong ones at 1 %."""
    labels = np.zeros(300, dtype=np.int64)
    shares = np.full((300, 3), 0.05, dtype=np.float32)
    shares[:, 0] = 0.9
    honest = shares.copy()
    honest[:30, 0] = 0.01
    shares[:2, 0] = 0
    assert dominated_loss(honest, labels) is None
    mean, median = dominated_loss(shares, labels) or (0, 0)
    assert mean > 0.5
    assert median == pytest.approx(-np.log(0.9), rel=1e-6)


def test_a_report_names_the_architectures_whose_training_is_odd(tmp_path: Path) -> None:
    created = make_study(tmp_path, ["a", "b"], seeds=(0,))
    comparison = created.collection().comparisons[0]
    odd = [
        record.model_copy(update={"training": training([0.4, 0.5, 0.6], [0.8, 0.8, 0.8])})
        if record.spec.architecture == "b"
        else record
        for record in comparison.records
    ]
    said = caveats(analyse(dataclasses.replace(comparison, records=odd), tmp_path))
    assert f"b: {FIRST}." in said


def listening() -> tuple[TerminalListener, Clock, io.StringIO]:
    out = io.StringIO()
    listener = TerminalListener(Console(file=out, width=200), 1)
    clock = Clock()
    listener._progress.clock = clock
    listener._printed_s = clock.now
    return listener, clock, out


def test_a_piped_study_is_never_silent_for_long() -> None:
    """After 30 s without a line it says what is being done, how far it is, and once."""
    listener, clock, out = listening()
    spec = make_spec()
    listener.on_started(RunFolder(Path("r")), spec, False)
    listener.on_event(spec, StageStarted(stage="train"))
    listener.on_event(spec, Progress(doing="features", done=38, total=100))
    said = out.getvalue()
    clock.now += SILENCE_S - 1
    listener.on_tick()
    assert out.getvalue() == said
    clock.now += 1
    listener.on_tick()
    listener.on_tick()
    assert out.getvalue() == said + "  features, 38 %, 30 s so far\n"


def test_an_epoch_says_what_it_is_judged_by_and_a_run_why_it_stopped() -> None:
    listener, _, out = listening()
    spec = make_spec()
    listener.on_started(RunFolder(Path("r")), spec, False)
    listener.on_event(spec, epoch(3))
    assert "epoch 3/10: loss 0.512, valid loss 0.600, valid accuracy 84.1 %" in out.getvalue()
    record = make_record(spec, 0.8)
    stopped = training([0.4, 0.5, 0.6], [0.8, 0.8, 0.8])
    listener.on_finished(RunFolder(Path("r")), record.model_copy(update={"training": stopped}))
    assert "early stopping after 3 of 10 epochs: validation loss has not" in out.getvalue()
    assert FIRST in out.getvalue()
