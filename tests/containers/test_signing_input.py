"""Tests of the messages that a signing task rejects because their signature could be misused."""

from __future__ import annotations

import pytest

from sealyard.containers.registry import reject_container_start
from sealyard.containers.se1.format import SE1Format
from sealyard.crypto.probe import PREFIX
from sealyard.model.errors import InvalidKeyError


@pytest.mark.parametrize("message", [SE1Format.magic, SE1Format.magic + b"more", PREFIX, PREFIX + b"more"])
def test_container_or_probe_start_is_rejected(message: bytes) -> None:
    with pytest.raises(InvalidKeyError, match="starts like"):
        reject_container_start(message)


@pytest.mark.parametrize("message", [b"", b"ordinary", PREFIX[:-1], b" " + PREFIX, b"x" + SE1Format.magic])
def test_other_messages_are_accepted(message: bytes) -> None:
    reject_container_start(message)
