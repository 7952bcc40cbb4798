"""Load key providers by the scheme of a key's URI. Third-party packages can add providers."""

from __future__ import annotations

from importlib.metadata import entry_points

from sealyard.keys.provider import KeyProviderFactory
from sealyard.model.errors import InvalidKeyError

ENTRY_POINT_GROUP = "sealyard.keys"


def load_provider(scheme: str) -> KeyProviderFactory:
    """Return the class of the provider of ``scheme``: the entry point of the group ``sealyard.keys`` with this name.

    Raises :class:`InvalidKeyError` if there is no provider for the scheme.
    """
    providers = entry_points(group=ENTRY_POINT_GROUP)
    if scheme not in providers.names:
        raise InvalidKeyError(f"Unknown key scheme {scheme!r}.", f"Use one of: {', '.join(sorted(providers.names))}.")
    provider: KeyProviderFactory = providers[scheme].load()
    return provider
