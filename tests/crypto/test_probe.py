"""The message that a key is proven by can be taken for nothing else."""

from __future__ import annotations

from sealyard.containers.registry import sniff_format
from sealyard.crypto.probe import is_probe, probe_message


def test_a_probe_is_known_by_its_beginning_and_names_its_workspace() -> None:
    message = probe_message("w1")
    assert is_probe(message)
    assert b"\nw1\n" in message


def test_no_two_probes_are_alike() -> None:
    assert len({probe_message("w1") for _ in range(100)}) == 100


def test_a_probe_does_not_begin_like_a_container() -> None:
    assert sniff_format(probe_message("w1")) is None
