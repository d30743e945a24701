"""Write a report as CSV or JSON, with unrounded values."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from benchmark.config.study import StudySettings
from benchmark.report import fairness, measured, render
from benchmark.report.analysis import Analysis
from benchmark.report.collect import Collection
from benchmark.report.deployed import row_verdicts, variant_values
from benchmark.report.pick import Pick
from benchmark.report.sections import flat, sections
from benchmark.runs.upgrade import FORMER_DATA_KEYS
from clothclf.cost.counters.registry import COMPARED
from clothclf.csv_text import csv_text
from clothclf.results import DataSummary
from clothclf.training.metrics import METRICS


def render_csv(study: StudySettings, collection: Collection, analyses: Sequence[Analysis]) -> str:
    """Render one line for each row, unrounded; failed and unfinished runs have no values."""
    entries = [
        flat_row(analysis, index) for analysis in analyses for index in _row_indices(analysis)
    ]
    entries += [
        {"study": study.study, "architecture": run.name, "status": run.text}
        for number, analysis in enumerate(analyses)
        for run in render.runs_without_figures(
            analysis.comparison, [] if number else collection.not_started
        )
    ]
    columns = dict.fromkeys(key for entry in entries for key in entry)
    return csv_text(list(columns), ([entry.get(key) for key in columns] for entry in entries))


def _row_indices(analysis: Analysis) -> range:
    return range(len(analysis.rows))


def flat_row(analysis: Analysis, index: int) -> dict[str, object]:
    """Unrounded values of a row; None where a value is missing."""
    row, figures = analysis.rows[index], analysis.statistics[index]
    pair, rank = analysis.pairs.get((0, index)), analysis.ranks.get(index)
    spec, cost = analysis.comparison.specs[0], row.cost
    f1 = figures.macro_f1 if figures else None
    return {
        "study": spec.study,
        "data": spec.data_summary.title,
        "synthetic_data": spec.data_summary.synthetic,
        "architecture": row.architecture,
        "image_size": row.image_size,
        "status": row.status,
        "mode": row.mode,
        "weights": row.weights,
        "weights_origin": row.weights_origin,
        "head_hidden": row.hidden,
        "body_precision": row.precision,
        "seeds": " ".join(str(seed) for seed in row.seeds),
        "test_accuracy": row.accuracy,
        "test_accuracy_low": figures.accuracy.low if figures else None,
        "test_accuracy_high": figures.accuracy.high if figures else None,
        "test_accuracy_deviation": row.accuracy_deviation,
        "test_set_deviation": figures.test_deviation if figures else None,
        "against_best": pair and -pair.difference,
        "against_best_p": pair and pair.p,
        "verdict_against_best": pair and pair.verdict,
        "may_be_best": rank and rank.may_be_best,
        "probability_best": rank and rank.probability_best,
        "rank_low": rank and rank.low,
        "rank_high": rank and rank.high,
        "test_macro_f1": row.macro_f1,
        "test_macro_f1_low": f1 and f1.low,
        "test_macro_f1_high": f1 and f1.high,
        **{f"test_{name}": row.metrics.get(name) for name in METRICS},
        "calibration_error": figures.calibration_error if figures else None,
        "calibration_error_with_temperature": figures.calibrated_error if figures else None,
        "accuracy_at_90_coverage": figures.accuracy_at_coverage if figures else None,
        "valid_accuracy": row.valid_accuracy,
        "macs": cost.macs if cost else None,
        "flops": cost.flops if cost else None,
        **{f"macs_{name}": cost.counted_macs(name) if cost else None for name in COMPARED},
        "params": cost.params if cost else None,
        "training_macs": cost.training_macs if cost else None,
        "training_params": cost.training_params if cost else None,
        "train_s": row.train_s,
        "features_reused": row.features_reused,
        "epochs": row.epochs,
        **measured.flat(row.measured, row.macs),
        "data_fingerprint": spec.data_summary.fingerprint,
        "protocol": spec.protocol_id,
        **flat(analysis, index),
        **({} if row.price is None else {"price_per_million": row.price}),
    }


def render_json(study: StudySettings, collection: Collection, analyses: Sequence[Analysis]) -> str:
    """Render the same values, nested, with data, protocol, pairs, classes, fairness and pick."""
    report = {
        "study": study.study,
        "comparisons": [_comparison(analysis) for analysis in analyses],
        "not_started": collection.not_started,
        "not_begun": collection.not_started,  # former name
        "elsewhere": collection.elsewhere,
    }
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"


def _comparison(analysis: Analysis) -> dict[str, object]:
    comparison, spec = analysis.comparison, analysis.comparison.specs[0]
    names = [row.name for row in analysis.rows]
    return {
        "data": _data(spec.data_summary),
        "protocol": {
            "id": spec.protocol_id,
            "image_size": render.sizes(analysis.comparison),
            "model": spec.model.model_dump(mode="json", exclude={"weights", "head"}),
            "train": spec.train.model_dump(mode="json"),
            **({"tuning": spec.tuning.model_dump(mode="json")} if spec.tuning else {}),
        },
        "rows": [
            {
                "name": names[index],
                **flat_row(analysis, index),
                **_errors_by_class(analysis, index),
                "deployed": [*map(variant_values, row_verdicts(analysis, index))],
            }
            for index in _row_indices(analysis)
        ],
        "pairs": [
            {
                **dataclasses.asdict(pair),
                "first": names[pair.first],
                "second": names[pair.second],
                "verdict": pair.verdict,
                "smallest_difference": pair.smallest_difference,
            }
            for pair in analysis.pairs.values()
        ],
        "failed": [
            {"run": f.spec.name, "stage": f.stage, "reason": f.reason} for f in comparison.failures
        ],
        "unfinished": [spec.name for spec in comparison.unfinished],
        "refused": [{"run": spec.name, "reason": why} for spec, why in comparison.refused],
        "fairness": [dataclasses.asdict(card) for card in fairness.fairness(comparison)],
        "notes": list(analysis.notes),
        "pick": _pick(analysis.pick),
        **{
            entry.name: section.values
            for entry, section in sections(analysis)
            if section.values is not None
        },
    }


def _data(summary: DataSummary) -> dict[str, object]:
    """Return the summary, also under the keys of earlier reports."""
    values = dataclasses.asdict(summary)
    return values | {former: values[key] for former, key in FORMER_DATA_KEYS.items()}


def _errors_by_class(analysis: Analysis, index: int) -> dict[str, object]:
    figures = analysis.statistics[index]
    if figures is None:
        return {"per_class": [], "hardest_pairs": [], "confusion": []}
    return {
        "per_class": [dataclasses.asdict(result) for result in figures.per_class],
        "hardest_pairs": [dataclasses.asdict(pair) for pair in figures.hardest],
        "confusion": figures.confusion.tolist(),
    }


def _pick(pick: Pick | None) -> dict[str, object] | None:
    if pick is None:
        return None
    return {
        "most_accurate": pick.most_accurate.name,
        "trade_off": pick.chosen.name if pick.chosen else None,
        "runner_up": pick.runner_up.name if pick.runner_up else None,
        "criteria": dataclasses.asdict(pick.criteria),
        "pareto_front": [row.name for row in pick.front],
        "sentence": pick.sentence,
        "runner_up_sentence": pick.runner_up_sentence,
        "notes": pick.notes,
        "rule": pick.rule,
        "sensitivity": pick.sensitivity,
    }
