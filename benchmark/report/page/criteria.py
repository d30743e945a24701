"""Data with which the page applies other criteria: figures, pairs and controls, as JSON."""

from __future__ import annotations

import shlex
from typing import Any, get_args

from benchmark.report.analysis import Analysis
from benchmark.report.charts.shared import names_of
from benchmark.report.columns import COLUMNS, MEASURED, measured_under
from benchmark.report.pick import SAME, WORDS, verdict_text
from benchmark.report.pick_rule import COST_OF, NO_CRITERIA, Cost, Criteria, decades
from benchmark.report.rows import Row

LIMITS = {"max_gmacs": "macs", "max_params": "params", "max_latency_ms": "latency"}
"""Field of `Criteria` and key of the column that it limits; options are named after the field."""
ASKED = ("prefer", "cost", "points_per_10x", "max_drop", *LIMITS, "min_accuracy")
"""Fields of `Criteria` that have a control; the page does not change the others."""


def cost_keys() -> list[str]:
    """Costs that the rule can weigh, by key of their column."""
    return [key for key in get_args(Cost) if key in COLUMNS]


def asked(analysis: Analysis) -> dict[str, Any]:
    """Figures of all rows, and the criteria of the report, from which the page picks again."""
    criteria = analysis.pick.criteria if analysis.pick else NO_CRITERIA
    keys = cost_keys()
    return {
        "rows": row_data(analysis.rows, names_of(analysis.rows)),
        "pairs": [
            [pair.first, pair.second, round(pair.interval.low, 6), round(pair.interval.high, 6),
             verdict_text(pair)]
            for pair in analysis.pairs.values()
        ],
        "criteria": {key: getattr(criteria, key) for key in (*ASKED, "choose_on")},
        "kept": fixed_options(criteria),
        "rule": rule_data(),
        "words": {key: WORDS.get(key, (COLUMNS[key].title, "less", "more")) for key in keys},
        "same": SAME,
    }  # fmt: skip


def rule_data() -> dict[str, Any]:
    """Constants of the rule and of the command's options, from Python alone."""
    return {
        "measured": sorted(MEASURED),
        "cost_of": COST_OF,
        "limits": LIMITS,
        "defaults": {key: getattr(NO_CRITERIA, key) for key in ASKED},
    }


def row_data(rows: list[Row], names: list[str]) -> list[dict[str, Any]]:
    """Figures of each row that the rule reads; costs are value and decimal logarithm.

    The order of names and the numbers of equal conditions are ranks, so that the page need not
    sort text or compare conditions as Python does.
    """
    name_ranks = {name: rank for rank, name in enumerate(sorted({row.name for row in rows}))}
    conditions = [measured_under(row) for row in rows]
    known = sorted({condition for condition in conditions if condition is not None})
    return [
        {
            "name": name,
            "rank": name_ranks[row.name],
            "valid": row.valid_accuracy,
            "test": row.accuracy,
            "costs": {
                key: [value, decades(value)]
                for key in cost_keys()
                if (value := COLUMNS[key].of(row)) is not None
            },
            "conditions": None if condition is None else known.index(condition),
        }
        for row, name, condition in zip(rows, names, conditions, strict=True)
    ]


def fixed_options(criteria: Criteria) -> str:
    """Options of `bench report` for the criteria that have no control on the page."""
    options = {
        "--choose-on": (criteria.choose_on, NO_CRITERIA.choose_on),
        "--margin": (criteria.margin, NO_CRITERIA.margin),
        "--front": (",".join(criteria.front), ",".join(NO_CRITERIA.front)),
        "--target": (criteria.target, NO_CRITERIA.target),
        "--price-per-hour": (criteria.price_per_hour, NO_CRITERIA.price_per_hour),
    }
    words = [
        word
        for option, (value, default) in options.items()
        if value != default
        for word in (option, str(value))
    ]
    return shlex.join(words)
