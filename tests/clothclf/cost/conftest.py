"""A function that counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clothclf.cost.count import CostRequest, count_cost
from clothclf.results import Cost


@pytest.fixture
def counting() -> Callable[[CostRequest], Cost]:
    """Return `count_cost`, as a fixture."""
    return count_cost
