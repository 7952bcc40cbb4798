"""Load key backends by the scheme of a key's URI. Third-party packages can add backends."""

from __future__ import annotations

from sealyard.keys.backend import KeyBackendFactory
from sealyard.model.errors import KeyProviderError

ENTRY_POINT_GROUP = "sealyard.key_backends"


def load_backend(scheme: str) -> KeyBackendFactory:
    """Return the class of the backend of ``scheme``: the entry point of this name in the group.

    Raises :class:`KeyProviderError` if there is no such backend, or if its module cannot be imported.
    """
    from importlib.metadata import entry_points

    backends = entry_points(group=ENTRY_POINT_GROUP)
    if scheme not in backends.names:
        names = ", ".join(sorted(backends.names)) or "none"
        raise KeyProviderError(
            f"Unknown key scheme {scheme!r}.",
            f"Install the package that adds it, or correct the provider of the section. Installed schemes: {names}.",
        )
    try:
        backend: KeyBackendFactory = backends[scheme].load()
    except ImportError as error:
        raise KeyProviderError(
            f"The key backend {scheme} cannot be loaded: the Python module {error.name or scheme} is missing.",
            "Install Sealyard with the extra of this backend, for example sealyard[pkcs11] or sealyard[aws].",
        ) from error
    return backend
