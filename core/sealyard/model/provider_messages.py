"""Messages of a provider process: plain values, each encoded as JSON.

A provider process serves one key backend. The key holder opens it with :class:`OpenProvider`; crypto workers send
:class:`ProviderRequest` over a connection of their own. Messages with secrets are subclasses of :class:`SecretStruct`.
"""

from __future__ import annotations

from typing import ClassVar

from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.backend_keys import BackendKey, ListedKey
from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.errors import ErrorInfo
from sealyard.model.provider_settings import ProcessSettings, ProviderSettings, Secrets

MAX_CONTROL_BYTES = 128 * 1024
"""Maximum size of a message between the key holder and a provider process, which is a single packet."""

# ---- messages from the key holder


class OpenProvider(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The first message: opens the backend. The answer is :class:`ProviderReady` or :class:`ProviderFailed`.

    ``readable_paths``: files and folders that the process can read besides those of ``process``.
    """

    settings: ProviderSettings
    secrets: Secrets
    process: ProcessSettings = ProcessSettings()
    readable_paths: tuple[str, ...] = ()


class ConnectWorker(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """Adds the connection of a worker: the file descriptor that accompanies the message."""


class PingProvider(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The answer is :class:`ProviderAlive`."""


ToProvider = OpenProvider | ConnectWorker | PingProvider


# ---- messages to the key holder


class ProviderReady(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The backend is open."""


class ProviderFailed(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The backend cannot be opened. The process exits."""

    error: ErrorInfo


class ProviderAlive(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The event loop of the process works. ``oldest_request_seconds``: how long its oldest request has been running."""

    oldest_request_seconds: float


FromProvider = ProviderReady | ProviderFailed | ProviderAlive


# ---- requests of a worker; ``name`` is the canonical name of a key without the scheme


class ProbeBackend(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    pass


class ListKeys(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    pass


class ResolveKeyName(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    name: str


class DescribeBackendKey(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    name: str


class GenerateBackendKey(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    name: str
    kind: KeyType


class RotateBackendKey(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    name: str


class SignData(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    name: str
    native_id: str
    algorithm: SigningAlgorithm
    data: bytes
    digest: HashName | None


class WrapSecret(SecretStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("name", "native_id")

    name: str
    native_id: str
    secret: bytes
    associated_data: bytes


class UnwrapSecret(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    name: str
    native_id: str
    wrapped: bytes
    associated_data: bytes


BackendCommand = (
    ProbeBackend
    | ListKeys
    | ResolveKeyName
    | DescribeBackendKey
    | GenerateBackendKey
    | RotateBackendKey
    | SignData
    | WrapSecret
    | UnwrapSecret
)


class ProviderRequest(SecretStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("request_id", "command")

    request_id: int
    command: BackendCommand


# ---- messages to a worker


class ProviderStarted(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The first message of a process on a connection. Requests before it may have been lost with another process."""


class ProviderUnavailable(FrozenStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """Sent by the key holder while no process uses the connection: the answer to all requests until the next one does.

    The error is permanent if no other process follows.
    """

    error: ErrorInfo


class ProviderResponse(SecretStruct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The result of a request, or its error. ``data``: a signature, or a wrapped or unwrapped secret.

    ``name``: the canonical name of a resolved or generated key.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("request_id", "error")

    request_id: int
    keys: tuple[ListedKey, ...] | None = None
    name: str | None = None
    key: BackendKey | None = None
    data: bytes | None = None
    error: ErrorInfo | None = None


ProviderToWorker = ProviderStarted | ProviderUnavailable | ProviderResponse
