"""Text about what a key can do, for display."""

from __future__ import annotations

from msgspec import UNSET

from sealyard.model.formatting import format_size_exact
from sealyard.model.keys import KeyInfo, KeyVersion


def format_capabilities(key: KeyInfo) -> tuple[str, ...]:
    """Return what the provider of ``key`` has reported that the key can do, and its limits."""
    capabilities = key.capabilities
    if capabilities is UNSET:
        return ()
    lines = []
    if capabilities.algorithms:
        lines.append(f"signs with {', '.join(capabilities.algorithms)}")
    if capabilities.max_message_bytes is not None:
        limit = format_size_exact(capabilities.max_message_bytes)
        lines.append(f"messages of at most {limit}" + (", longer ones as digests" if capabilities.digests else ""))
    if capabilities.signatures_per_second is not None:
        lines.append(f"at most {capabilities.signatures_per_second:g} signatures per second")
    if capabilities.can_wrap:
        lines.append("wraps other keys")
    if not capabilities.can_rotate:
        lines.append("cannot be rotated")
    return tuple(lines)


def format_wrapping(version: KeyVersion) -> str:
    """Return which key wraps this version; empty if none does."""
    wrapping_key = version.wrapped_by
    return "" if wrapping_key is UNSET else f"wrapped by {wrapping_key.uri} version {wrapping_key.version}"
