"""Signals are remembered, and obeyed between two steps."""

from __future__ import annotations

import os
import signal

import pytest

from jepakit.training.interruption import SIGNALS, Interruption


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_is_remembered_and_nothing_is_interrupted(name: str) -> None:
    number = signal.Signals[name]
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.exit_code == 0
        os.kill(os.getpid(), number)
        assert interruption.received == number
        assert interruption.exit_code == 128 + number
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_stops_at_once() -> None:
    with Interruption():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_second_polite_signal_does_not() -> None:
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.received == signal.SIGTERM


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for `command &`
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGINT)
            assert interruption.received is None
    finally:
        signal.signal(signal.SIGINT, before)
