"""Fields of a run in MLflow: parameters to group by, metrics with prefixes, and tags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder, runs_root
from benchmark.runs.setting_differences import differing_settings
from benchmark.runs.spec import RunSpec, folder_name
from benchmark.text.recipe_text import (
    augment_words,
    has_momentum,
    label_words,
    optimizer_words,
    settings_text,
    tuning_words,
)
from clothclf.cost.counters.registry import COMPARED
from clothclf.results import EpochResult

RUN_ID_TAG = "bench.run_id"
KIND_TAG = "bench.kind"
NOTE_TAG = "mlflow.note.content"
"""Description of a run or an experiment, as Markdown."""
PROTOCOL_TAG = "bench.protocol"
DATA_TAG = "bench.data_fingerprint"
RUN_KIND = "run"
"""Kind of an architecture's run; MLflow runs without a kind are in an earlier format."""
REPORT_KIND = "report"
"""Kind of the MLflow run that holds a study's report."""
TRIAL_KIND = "trial"
"""Kind of the nested MLflow runs of tuning."""

FINAL_STEP = 0
"""Step of metrics with one value. MLflow only draws bar charts if no step is above 0."""


def run_name(spec: RunSpec, root: Path) -> str:
    """Return the name of a run in MLflow's UI: `vgg16-s0`, or `vgg16-s0 learning_rate=0.01`.

    The first run of a name gets the plain name. A later one adds the settings in which it differs
    from the runs of the same name that are in the tracking folder `root` when it is logged, or
    the first characters of its run_id if that is ambiguous. Runs are never renamed.
    """
    prefix = folder_name(spec).removesuffix(spec.run_id)
    folders = map(RunFolder, sorted(runs_root(root, spec.study).glob(f"{prefix}*")))
    specs = [item for folder in folders if (item := folder.spec()) is not None]
    others = [item for item in specs if item.name == spec.name and item.run_id != spec.run_id]
    if not others:
        return spec.name
    own, *theirs = differing_settings([spec, *others])
    suffix = own if own and own not in theirs else f"{own} {spec.run_id[:6]}".strip()
    return f"{spec.name} {suffix}"


def spec_tags(spec: RunSpec) -> dict[str, str]:
    """Return the tags that are known before the run starts."""
    data = spec.data_summary
    return {
        **spec.tags,
        RUN_ID_TAG: spec.run_id,
        KIND_TAG: RUN_KIND,
        "bench.study": spec.study,
        "bench.architecture": spec.architecture,
        PROTOCOL_TAG: spec.protocol_id,
        "bench.recipe": recipe(spec),
        "bench.data": data.title,
        DATA_TAG: data.fingerprint,
        "bench.synthetic_data": str(data.synthetic).lower(),
        "bench.weights": spec.weights.name,
        "mlflow.source.name": "bench run",
        NOTE_TAG: _note(spec),
    }


def _note(spec: RunSpec) -> str:
    data = spec.data_summary
    synthetic = (
        " The images are synthetic: results do not transfer to real images." * data.synthetic
    )
    return (
        f"{spec.architecture}, {spec.model.mode}, weights {spec.weights.name}, "
        f"seed {spec.seed}, on {data.title}.{synthetic}"
    )


def _record_note(record: RunRecord) -> str:
    """Return the description of a finished run, figures first.

    On the page of a run, MLflow lists system metrics before all others, but below the description.
    """
    figures = final_metrics(record)
    shown = (
        ("test/accuracy", 100, "{:.2f} % test accuracy"),
        ("cost/gmacs", 1, "{:.4g} GMACs"),
        ("cost/mparams", 1, "{:.4g} M parameters"),
        ("speed/latency_ms", 1, "{:.3g} ms latency"),
    )
    parts = [text.format(by * figures[name]) for name, by, text in shown if name in figures]
    return f"**{', '.join(parts)}**\n\n{_note(record.spec)}" if parts else _note(record.spec)


def recipe(spec: RunSpec) -> str:
    """Summarize in one line the settings that rarely differ within a study.

    `config.yaml` has all settings.
    """
    train, model = spec.train, spec.model
    parts = [
        train.optimizer,
        f"momentum {train.momentum:g}" if has_momentum(train) else "",
        f"weight decay {train.weight_decay:g}",
        f"{train.schedule} rate",
        *optimizer_words(train),
        *label_words(train),
        f"crop {train.augment.crop_padding}" if train.augment.crop_padding else "",
        "mirror" if train.augment.horizontal_flip else "",
        *augment_words(train.augment),
        f"patience {train.patience}" if train.patience else "",
        f"batch norm {model.batch_norm}" if model.mode == "frozen" else "",
        "standardized features" if model.standardize_features else "",
        tuning_words(spec.tuning) if spec.tuning else "",
    ]
    return ", ".join(part for part in parts if part)


def record_tags(record: RunRecord) -> dict[str, str]:
    """Return the tags of a finished run: description, environment, and the verdict on its cost."""
    environment = record.environment
    versions = {"python": environment.python, **environment.versions}
    tags = {
        NOTE_TAG: _record_note(record),
        "bench.versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "bench.device": environment.device,
        "bench.processor": environment.processor,
        "bench.training_route": record.training.route,
        "bench.cost_verdict": record.cost.verdict if record.cost else "unchecked",
        "bench.cost_reason": record.cost.reason if record.cost else record.cost_error,
    }
    if record.training.tuning is not None:
        tags["bench.tuned_settings"] = settings_text(record.training.tuning)
    if record.measured is not None and record.measured.busy:
        tags["bench.measured_busy"] = record.measured.busy
    if environment.git_commit:
        tags["mlflow.source.git.commit"] = environment.git_commit
    return {name: value for name, value in tags.items() if value}


def parameters(spec: RunSpec) -> dict[str, str]:
    """Return the settings to compare or group by, under names that fit a column header."""
    values: dict[str, Any] = {
        "architecture": spec.architecture,
        "seed": spec.seed,
        "mode": spec.model.mode,
        "weights": spec.weights.origin,
        "head": _head(spec),
        "precision": spec.precision,
        "image_size": spec.image_size,
        "batch_size": spec.train.batch_size,
        "epochs": spec.train.epochs,
        "learning_rate": f"{spec.train.learning_rate:g}",
    }
    return {name: str(value) for name, value in values.items()}


def _head(spec: RunSpec) -> str:
    layers = "linear" if spec.head.hidden is None else f"hidden {spec.head.hidden}"
    return f"{layers}, dropout {spec.head.dropout:g}" if spec.head.dropout else layers


def epoch_metrics(result: EpochResult) -> dict[str, float]:
    """Return the metrics of one epoch."""
    return {
        # MLflow's UI shows the metric that was logged first on top.
        "valid/accuracy": result.valid_accuracy,
        "valid/loss": result.valid_loss,
        "train/accuracy": result.train_accuracy,
        "train/loss": result.train_loss,
        "train/learning_rate": result.learning_rate,
        "train/images_per_second": result.images_per_second,
    }


def final_metrics(record: RunRecord) -> dict[str, float]:
    """Return the metrics of a finished run that have one value."""
    best = record.training.best
    return {
        **_test_metrics(record),
        "best/valid_accuracy": best.valid_accuracy,
        "best/valid_loss": best.valid_loss,
        "best/epoch": float(best.epoch),
        "time/train_s": record.training.full_seconds,
        "time/total_s": sum(record.stage_seconds.values()),
        "memory/peak_mib": record.peak_memory_bytes / 2**20,
        **_tuning_metrics(record),
        **_cost_metrics(record),
        **_measured_metrics(record),
    }


def _tuning_metrics(record: RunRecord) -> dict[str, float]:
    result = record.training.tuning
    if result is None:
        return {}
    gain = {} if result.gain is None else {"tuning/gain": result.gain}
    return {**gain, "time/tune_s": result.seconds}


def _test_metrics(record: RunRecord) -> dict[str, float]:
    if record.spec.evaluate != "test":
        return {}
    return {f"test/{name}": value for name, value in record.test.metrics.items()}


def _cost_metrics(record: RunRecord) -> dict[str, float]:
    """Return the cost in billions and millions, for readable axes, and as exact counts."""
    cost = record.cost
    if cost is None:
        return {}
    counted = {
        "cost/gmacs": (cost.macs, 1e9),
        "cost/gflops": (cost.flops, 1e9),
        "cost/mparams": (cost.params, 1e6),
        "cost/trainable_mparams": (cost.trainable_params, 1e6),
        # Cost of the training form, if the other counts describe a different deployed form.
        "cost/training_gmacs": (cost.training_macs, 1e9),
        "cost/training_mparams": (cost.training_params, 1e6),
        "cost/macs": (cost.macs, 1),
        "cost/params": (cost.params, 1),
        **{f"counters/{name}_gmacs": (cost.counted_macs(name), 1e9) for name in COMPARED},
    }
    return {name: count / unit for name, (count, unit) in counted.items() if count is not None}


def _measured_metrics(record: RunRecord) -> dict[str, float]:
    measured = record.measured
    if measured is None:
        return {}
    metrics = {
        "memory/inference_mib": measured.inference_memory_bytes / 2**20,
        "memory/training_mib": measured.training_memory_bytes / 2**20,
    }
    if measured.busy:  # charts would rank unreliable values; the record has them
        return metrics
    metrics |= {
        "speed/latency_ms": measured.latency_ms_median,
        "speed/latency_ms_p95": measured.latency_ms_p95,
        "speed/best_images_per_second": measured.best_images_per_second,
    }
    if record.cost is not None and record.cost.macs is not None:
        best = measured.gmacs_per_second(record.cost.macs, measured.best_batch)
        metrics["speed/best_gmacs_per_second"] = best
    return metrics


def dataset_input(spec: RunSpec) -> Any:
    """Return the study's images as an MLflow dataset."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = spec.data_summary
    profile = {"images": data.images, "images_per_class": data.images_per_class}
    dataset = Dataset(
        name=data.title,
        digest=data.fingerprint,
        source_type="synthetic" if data.synthetic else "local",
        source=json.dumps({"uri": data.title, "label": spec.data.label}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
