"""Messages of a provider process: plain values, each encoded as JSON.

A provider process serves one key provider. The key holder opens it with :class:`OpenProvider`; crypto workers send
:class:`ProviderRequest` over a connection of their own. Messages with secrets are subclasses of :class:`SecretStruct`.
"""

from __future__ import annotations

from typing import ClassVar

from sealyard.model.algorithms import KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.errors import ErrorInfo
from sealyard.model.keys import KeyCapabilities, KeyInfo, KeyVersion
from sealyard.model.provider_settings import ProviderSettings, Secrets

# ---- messages from the key holder


class OpenProvider(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The first message: opens the provider. The answer is :class:`ProviderReady` or :class:`ProviderFailed`."""

    settings: ProviderSettings
    secrets: Secrets


class ConnectWorker(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """Adds the connection of a worker: the file descriptor that accompanies the message."""


ToProvider = OpenProvider | ConnectWorker


# ---- messages to the key holder


class ProviderReady(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The provider is open."""


class ProviderFailed(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The provider cannot be opened. The process exits."""

    error: ErrorInfo


FromProvider = ProviderReady | ProviderFailed


# ---- requests of a worker; ``name`` is the name of a key without the scheme


class ProbeProvider(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    pass


class GetKeyCapabilities(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    name: str


class GetKeyInfo(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    name: str


class RegisterProviderKey(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    name: str
    kind: KeyType
    purpose: KeyPurpose
    certificate: bytes | None


class GenerateProviderKey(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    name: str
    kind: KeyType
    purpose: KeyPurpose
    subject: str


class ImportProviderKey(SecretStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    content: bytes
    kind: KeyType
    purpose: KeyPurpose
    password: str | None
    certificate: bytes | None


class RotateProviderKey(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    name: str


class ImportProviderCertificate(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    name: str
    version: int
    content: bytes


class CreateProviderCertificateRequest(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    name: str
    version: int


class CheckSigner(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """Checks that a key can sign with an algorithm, without signing."""

    name: str
    version: int
    algorithm: SigningAlgorithm
    prehashed: bool


class SignData(CheckSigner, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    data: bytes


class WrapSecret(SecretStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("name", "version")

    name: str
    version: int
    secret: bytes
    associated_data: bytes


class UnwrapSecret(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    name: str
    version: int
    wrapped: bytes
    associated_data: bytes


class ExportProviderKey(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    name: str
    version: int


ProviderCommand = (
    ProbeProvider
    | GetKeyCapabilities
    | GetKeyInfo
    | RegisterProviderKey
    | GenerateProviderKey
    | ImportProviderKey
    | RotateProviderKey
    | ImportProviderCertificate
    | CreateProviderCertificateRequest
    | CheckSigner
    | SignData
    | WrapSecret
    | UnwrapSecret
    | ExportProviderKey
)


class ProviderRequest(SecretStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("request_id", "command")

    request_id: int
    command: ProviderCommand


# ---- messages to a worker


class ProviderStarted(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The first message of a process on a connection. Requests before it may have been lost with another process."""


class ProviderResponse(SecretStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The result of a request, or its error. ``data``: a signature, or a wrapped, unwrapped or exported secret."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("request_id", "error")

    request_id: int
    key: KeyInfo | None = None
    version: KeyVersion | None = None
    capabilities: KeyCapabilities | None = None
    text: str | None = None
    data: bytes | None = None
    error: ErrorInfo | None = None


ProviderToWorker = ProviderStarted | ProviderResponse
