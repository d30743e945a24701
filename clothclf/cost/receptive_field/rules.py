"""Registry of receptive-field rules by torch operator."""

from __future__ import annotations

from clothclf.cost.receptive_field.layout_rules import LAYOUT_RULES
from clothclf.cost.receptive_field.propagation import Rule, element_by_element
from clothclf.cost.receptive_field.sum_rules import SUM_RULES
from clothclf.cost.receptive_field.window_rules import WINDOW_RULES

_RULES: dict[str, Rule] = {**WINDOW_RULES, **SUM_RULES, **LAYOUT_RULES}


def rule_for(operator: str) -> Rule:
    """Return the rule of an operator by its bare name; in-place variants share it.

    Operators without a rule are treated as elementwise, or as unknown if the shapes do not match.
    """
    return _RULES.get(operator) or _RULES.get(operator.removesuffix("_")) or element_by_element
