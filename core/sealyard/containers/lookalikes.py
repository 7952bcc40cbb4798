"""Messages that no signing task signs: their signatures would pass for something else of ours."""

from __future__ import annotations

from sealyard.containers.registry import begins_like_container
from sealyard.crypto.probe import begins_like_probe
from sealyard.model.errors import KeyRefusedError


def refuse_lookalike(message: bytes) -> None:
    """Raises :class:`KeyRefusedError` for what begins like a container or like a readiness probe."""
    if kind := begins_like_container(message):
        raise KeyRefusedError(
            f"The message begins like a {kind} container.", "Containers are made by packaging tasks only."
        )
    if begins_like_probe(message):
        raise KeyRefusedError(
            "The message begins like a readiness probe.", "Those are made by crypto workers only, for themselves."
        )
