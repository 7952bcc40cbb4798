"""Tests of the probe message, which no other signed data can be confused with."""

from __future__ import annotations

from sealyard.containers.registry import sniff_format
from sealyard.crypto.probe import is_probe, probe_message


def test_probe_message_contains_prefix_and_workspace() -> None:
    message = probe_message("w1")
    assert is_probe(message)
    assert b"\nw1\n" in message


def test_probe_messages_are_unique() -> None:
    assert len({probe_message("w1") for _ in range(100)}) == 100


def test_probe_message_is_no_container() -> None:
    assert sniff_format(probe_message("w1")) is None
