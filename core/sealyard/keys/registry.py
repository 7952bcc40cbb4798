"""Key providers by the scheme of a key's URI; a stranger's package can add one."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

from sealyard.keys.provider import KeyProvider
from sealyard.model.errors import InvalidKeyError

ENTRY_POINT_GROUP = "sealyard.keys"


def key_provider(scheme: str, folder: Path, master_key: bytes) -> KeyProvider:
    """The provider of ``scheme``, over its own part of the workspace's key folder.

    An entry point of the group ``sealyard.keys``, named like the scheme, is called with the folder
    ``folder/scheme`` and the workspace's master key (32 bytes), under which it keeps what it has to keep.
    Raises :class:`InvalidKeyError` for a scheme that nobody provides.
    """
    found = entry_points(group=ENTRY_POINT_GROUP)
    if scheme not in found.names:
        raise InvalidKeyError(
            f"Nothing here provides keys of the scheme {scheme!r}.", f"There is: {', '.join(sorted(found.names))}."
        )
    provider: KeyProvider = found[scheme].load()(folder / scheme, master_key)
    return provider
