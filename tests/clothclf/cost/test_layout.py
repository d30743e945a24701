"""Layouts keep track of positions through reshapes, or report that they are lost."""

from __future__ import annotations

import pytest

from clothclf.cost.receptive_field.layout import (
    Dim,
    Run,
    as_tokens,
    merge_neighbors,
    plain,
    regroup,
)

HEIGHT = (Run("height", 8, 4),)
WIDTH = (Run("width", 8, 4),)


def test_windows_taken_apart_and_put_together_are_the_map_again() -> None:
    apart = regroup([(), HEIGHT, WIDTH, plain(3)], [1, 2, 4, 2, 4, 3])
    assert apart is not None
    assert apart[1:3] == ((Run("height", 2, 16),), (Run("height", 4, 4),))
    together = regroup(apart, [1, 8, 8, 3])
    assert together == ((), HEIGHT, WIDTH, plain(3))


def test_a_map_flattened_to_tokens_and_back() -> None:
    tokens = regroup([(), plain(3), HEIGHT, WIDTH], [1, 3, 64])
    assert tokens == ((), plain(3), HEIGHT + WIDTH)
    assert regroup(tokens, [1, 3, 8, 8]) == ((), plain(3), HEIGHT, WIDTH)


@pytest.mark.parametrize("shape", [[1, 3, 8, 3], [5, 64], [1, 3, 12, 16]])
def test_a_reshape_that_cuts_a_run_unevenly_is_no_layout(shape: list[int]) -> None:
    dims: list[Dim] = [(), plain(3), HEIGHT, WIDTH] if shape[0] == 1 else [HEIGHT, WIDTH]
    assert regroup(dims, shape) is None


def test_class_tokens_come_and_go() -> None:
    places = HEIGHT + WIDTH
    with_class = as_tokens(places, 65)
    assert with_class == (Run("tokens", 65, origin=places),)
    assert as_tokens(with_class, 64) == places


def test_neighbours_join_only_without_a_jump() -> None:
    assert merge_neighbors([Run("height", 2, 16), Run("height", 4, 4)]) == HEIGHT
    swapped = (Run("height", 4, 4), Run("height", 2, 16))
    assert merge_neighbors(swapped) == swapped
