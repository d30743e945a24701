"""Which rule of the receptive field goes with which of torch's operators."""

from __future__ import annotations

from clothclf.cost.receptive_field.layout_rules import LAYOUT_RULES
from clothclf.cost.receptive_field.propagation import Rule, element_by_element
from clothclf.cost.receptive_field.sum_rules import SUM_RULES
from clothclf.cost.receptive_field.window_rules import WINDOW_RULES

_RULES: dict[str, Rule] = {**WINDOW_RULES, **SUM_RULES, **LAYOUT_RULES}


def rule_for(operator: str) -> Rule:
    """The rule for an operator by its bare name; one that writes in place has its plain sister's.

    What has no rule of its own works element by element, or turns out unknown by its shapes.
    """
    return _RULES.get(operator) or _RULES.get(operator.removesuffix("_")) or element_by_element
