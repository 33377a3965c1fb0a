"""Signals as flags."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from deeptool.errors import Terminated
from hpc.processes.caught_signals import USUAL, CaughtSignals


def test_signals_are_noted_and_raised_where_it_is_safe() -> None:
    before = signal.getsignal(signal.SIGHUP)
    signals = CaughtSignals(*USUAL)
    with signals.caught():
        signals.check()
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Terminated) as caught:
            signals.check()
    assert caught.value.exit_code == 128 + signal.SIGHUP
    assert signal.getsignal(signal.SIGHUP) == before


def test_the_second_one_is_insistent_and_a_dropped_one_is_no_request() -> None:
    signals = CaughtSignals(signal.SIGTERM, dropped=(signal.SIGINT,))
    with signals.caught():
        os.kill(os.getpid(), signal.SIGINT)
        signals.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert (signals.end, signals.insistent) == (True, False)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.insistent


def test_a_dropped_signal_still_ends_the_processes_that_are_started() -> None:
    with CaughtSignals(dropped=(signal.SIGINT,)).caught():
        child = subprocess.Popen(["sleep", "60"])
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == -signal.SIGINT
