"""Result types: data summaries, counted and measured cost, training and evaluation.

Units are part of the names. Does not import torch.
"""

from clothclf.results.cost_results import (
    Cost,
    CounterResult,
    MeasuredCost,
    ReceptiveField,
    Verdict,
    size_text,
)
from clothclf.results.training_results import (
    ClassResult,
    DataSummary,
    EpochResult,
    Evaluation,
    Predictions,
    Probe,
    Route,
    StepTimes,
    TrainingResult,
    Trial,
    TrialRung,
    TuningResult,
    Weights,
)

__all__ = [
    "ClassResult",
    "Cost",
    "CounterResult",
    "DataSummary",
    "EpochResult",
    "Evaluation",
    "MeasuredCost",
    "Predictions",
    "Probe",
    "ReceptiveField",
    "Route",
    "StepTimes",
    "TrainingResult",
    "Trial",
    "TrialRung",
    "TuningResult",
    "Verdict",
    "Weights",
    "size_text",
]
