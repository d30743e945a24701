"""An interrupt waits for the end of a block, once; a second one does not wait."""

from __future__ import annotations

import os
import signal

import pytest

from benchmark.interrupts import interrupts_postponed


def interrupted(number: signal.Signals, times: int, done: list[str]) -> None:
    with interrupts_postponed():
        for _ in range(times):
            os.kill(os.getpid(), number)
        done.append("the rest of the block")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_comes_after_the_block(number: signal.Signals) -> None:
    done: list[str] = []

    def on_term(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, on_term)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted(number, 1, done)
        assert signal.getsignal(signal.SIGTERM) is on_term
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done


def test_a_second_interrupt_does_not_wait() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(signal.SIGINT, 2, done)
    assert not done


def test_an_error_of_the_block_passes() -> None:
    with pytest.raises(ValueError, match="why"), interrupts_postponed():
        raise ValueError("why")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_postponed():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
