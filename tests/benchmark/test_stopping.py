"""The first signal is noted and nothing is cut in half; the second is raised."""

from __future__ import annotations

import os
import signal

import pytest

from benchmark.engine.stopping import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_asks_and_the_second_insists(number: signal.Signals) -> None:
    # Who runs the tests may ignore it.
    before = signal.signal(number, signal.default_int_handler)
    try:
        request = StopRequest()
        with request.listening():
            assert not request.requested
            os.kill(os.getpid(), number)
            assert request.requested
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        assert request.repeated
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest().listening() as request:
            os.kill(os.getpid(), signal.SIGINT)
        assert not request.requested
    finally:
        signal.signal(signal.SIGINT, before)
