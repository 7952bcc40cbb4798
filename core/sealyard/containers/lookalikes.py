"""Messages that no signing task signs: their signatures would pass for something else of ours."""

from __future__ import annotations

from sealyard.containers.registry import sniff_format
from sealyard.crypto.probe import is_probe
from sealyard.model.errors import InvalidKeyError


def reject_lookalike(message: bytes) -> None:
    """Raises :class:`InvalidKeyError` for what begins like a container or like a readiness probe."""
    if kind := sniff_format(message):
        raise InvalidKeyError(
            f"The message begins like a {kind} container.", "Containers are made by packaging tasks only."
        )
    if is_probe(message):
        raise InvalidKeyError(
            "The message begins like a readiness probe.", "Those are made by crypto workers only, for themselves."
        )
