"""Load key providers by the scheme of a key's URI. Third-party packages can add providers."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

from sealyard.keys.provider import KeyProvider
from sealyard.model.errors import InvalidKeyError

ENTRY_POINT_GROUP = "sealyard.keys"


def key_provider(scheme: str, folder: Path, master_key: bytes) -> KeyProvider:
    """Return the provider of ``scheme``, which stores its files in ``folder/scheme``.

    The provider is the entry point of the group ``sealyard.keys`` with the name of the scheme. It is called with its
    folder and the workspace's master key (32 bytes), and must encrypt everything that it stores with this key.

    Raises :class:`InvalidKeyError` if there is no provider for the scheme.
    """
    providers = entry_points(group=ENTRY_POINT_GROUP)
    if scheme not in providers.names:
        raise InvalidKeyError(f"Unknown key scheme {scheme!r}.", f"Use one of: {', '.join(sorted(providers.names))}.")
    provider: KeyProvider = providers[scheme].load()(folder / scheme, master_key)
    return provider
