"""Decoding threads share one memory budget in FIFO order, and can be cancelled."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import pytest

from clothclf.data.budget import Budget, decoding_threads


def test_threads_together_hold_no_more_than_the_total() -> None:
    budget, lock = Budget(100), threading.Lock()
    held = most = 0

    def work(amount: int) -> None:
        nonlocal held, most
        with budget.claim(amount):
            with lock:
                held += amount
                most = max(most, held)
            time.sleep(0.001)
            with lock:
                held -= amount

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, [10, 70, 30] * 30))
    assert 70 < most <= 100


def test_more_than_the_total_is_given_alone() -> None:
    budget = Budget(100)
    with ThreadPoolExecutor(1) as pool, budget.claim(1000):
        other = pool.submit(claim_once, budget, 1)
        time.sleep(0.05)
        assert not other.done()
    with budget.claim(100):
        pass


def test_a_large_claim_is_not_passed_by_small_ones() -> None:
    """Small claims would otherwise starve it."""
    budget, order = Budget(100), []

    def work(amount: int) -> None:
        with budget.claim(amount):
            order.append(amount)

    with ThreadPoolExecutor(4) as pool, budget.claim(50):
        for amount in (100, 1, 2):
            pool.submit(work, amount)
            time.sleep(0.02)
    assert order == [100, 1, 2]


def test_threads_that_wait_give_up_where_the_block_is_left_early() -> None:
    budget = Budget(100)
    waiting: list[Future[bool]] = []

    def interrupted() -> None:
        with decoding_threads() as pool:
            waiting.extend(pool.submit(claim_once, budget, 60) for _ in range(100))
            time.sleep(0.05)
            raise KeyboardInterrupt

    with budget.claim(100):
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert all(isinstance(reason(future), CancelledError) for future in waiting)
    assert claim_once(budget, 100)  # nothing is reserved, and no thread is queued


def claim_once(budget: Budget, amount: int) -> bool:
    """Reserve an amount briefly."""
    with budget.claim(amount):
        return True


def reason(future: Future[bool]) -> BaseException | None:
    """Return the exception of a finished future, if any."""
    try:
        return future.exception(timeout=0)
    except CancelledError as error:
        return error
