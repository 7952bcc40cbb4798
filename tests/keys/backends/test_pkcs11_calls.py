"""Tests of the gate for calls of a PKCS#11 module."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sealyard.keys.backends.pkcs11 import calls
from sealyard.model.errors import KeyProviderUnavailableError
from tests.support.limits import TIMEOUT


def run_call(gate: calls.CallGate, entered: threading.Event, release: threading.Event) -> None:
    with gate.call():
        entered.set()
        assert release.wait(TIMEOUT)


def test_calls_overlap_unless_serial() -> None:
    for is_serial in (False, True):
        gate, entered, release = calls.CallGate(), threading.Event(), threading.Event()
        gate.is_serial = is_serial
        second_entered = threading.Event()
        with ThreadPoolExecutor(2) as executor:
            first = executor.submit(run_call, gate, entered, release)
            assert entered.wait(TIMEOUT)
            second = executor.submit(run_call, gate, second_entered, release)
            assert second_entered.wait(0.2 if is_serial else TIMEOUT) is not is_serial
            release.set()
            first.result(TIMEOUT)
            second.result(TIMEOUT)


def test_restart_excludes_calls() -> None:
    gate, entered, release = calls.CallGate(), threading.Event(), threading.Event()
    order: list[str] = []

    def restart() -> None:
        with gate.exclusive():
            order.append("restart")

    def call_later() -> None:
        with gate.call():
            order.append("call")

    with ThreadPoolExecutor(3) as executor:
        first = executor.submit(run_call, gate, entered, release)
        assert entered.wait(TIMEOUT)
        exclusive = executor.submit(restart)
        while not gate._exclusive_requests:
            pass
        later = executor.submit(call_later)
        assert order == []
        release.set()
        for future in (first, exclusive, later):
            future.result(TIMEOUT)
    assert order == ["restart", "call"]


def test_restart_during_hanging_call_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "EXCLUSIVE_TIMEOUT", 0.01)
    gate, entered, release = calls.CallGate(), threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as executor:
        hanging = executor.submit(run_call, gate, entered, release)
        assert entered.wait(TIMEOUT)
        with pytest.raises(KeyProviderUnavailableError, match="does not return"), gate.exclusive():
            pass
        release.set()
        hanging.result(TIMEOUT)
    with gate.call():
        pass
