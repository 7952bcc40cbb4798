"""Keys as the token or key service that holds them describes them."""

from __future__ import annotations

from sealyard.model.algorithms import KeyType
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import ErrorInfo, error_from_info
from sealyard.model.keys import KeyCapabilities


class BackendKey(FrozenStruct, frozen=True, kw_only=True):
    """One version of a key. ``public_key`` (PEM) is set only for signing keys.

    ``native_id``: the identifier of this version in its token or service: the version number of Vault, the key ARN of
    AWS KMS, the hexadecimal CKA_ID of PKCS#11.

    ``certificate``: the certificate (PEM) that the token stores with the key.
    """

    native_id: str
    kind: KeyType
    public_key: str | None = None
    certificate: str | None = None
    capabilities: KeyCapabilities


class ListedKey(FrozenStruct, frozen=True, kw_only=True):
    """A key that can be registered. ``name``: its canonical name without the scheme.

    ``is_registered``: whether the workspace has the key already. The engine sets it; a key provider does not know it.
    """

    name: str
    kind: KeyType
    label: str = ""
    """The name that people gave the key, such as an alias or the label of the object."""
    is_registered: bool = False


class DescribedKey(FrozenStruct, frozen=True, kw_only=True):
    """A key as its token or key service describes it, which need not be registered. ``uri``: its canonical URI."""

    uri: str
    kind: KeyType
    capabilities: KeyCapabilities


class ProviderStatus(FrozenStruct, frozen=True, kw_only=True):
    """Whether the key provider of a section of the worker settings works. ``error``: why it does not.

    ``section`` is empty if the settings themselves cannot be used. ``key_prefix``: with the name of a new key appended,
    it is the URI of the key; empty if the provider is not one of Sealyard.
    """

    section: str
    scheme: str
    key_prefix: str = ""
    error: ErrorInfo | None = None

    @property
    def warning(self) -> str:
        """That the provider does not work, why, and what to do; empty if it works."""
        if self.error is None:
            return ""
        error = error_from_info(self.error)
        return f"The key provider {self.section} does not work: {error}" if self.section else str(error)


class ProviderKeys(ProviderStatus, frozen=True, kw_only=True):
    """The keys of a section that can be registered."""

    keys: tuple[ListedKey, ...] = ()
