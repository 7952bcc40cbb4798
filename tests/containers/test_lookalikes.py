"""What a signing task must not sign, for its signature would pass for something else."""

from __future__ import annotations

import pytest

from sealyard.containers.lookalikes import refuse_lookalike
from sealyard.containers.se1 import SE1
from sealyard.crypto.probe import PREFIX
from sealyard.model.errors import KeyRefusedError


@pytest.mark.parametrize("message", [SE1.magic, SE1.magic + b"more", PREFIX, PREFIX + b"more"])
def test_what_begins_like_a_container_or_a_probe_is_refused(message: bytes) -> None:
    with pytest.raises(KeyRefusedError, match="begins like"):
        refuse_lookalike(message)


@pytest.mark.parametrize("message", [b"", b"ordinary", PREFIX[:-1], b" " + PREFIX, b"x" + SE1.magic])
def test_all_else_may_be_signed(message: bytes) -> None:
    refuse_lookalike(message)
