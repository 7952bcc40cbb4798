"""Messages of the key holder: plain values, each encoded as one line of JSON.

The key holder is the process that holds the master key of a workspace. It exchanges messages with the process that
started it, and with each crypto worker through a private channel. :class:`OpenKeys` and :class:`KeyHolderReady` are the
only messages that contain secrets.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.errors import ErrorInfo


class KeyStoreLocation(FrozenStruct, frozen=True, kw_only=True):
    """Where the key store of a workspace is. ``create``: whether to create its master key."""

    workspace: str
    workspace_id: str
    key_store: str
    create: bool = False


class PassphraseSource(StrEnum):
    """Where the key holder reads the passphrase, unless the OS keyring stores the master key.

    ``ENVIRONMENT``: the environment variable or the systemd credential. ``TERMINAL``: the same or, if neither exists, a
    prompt. ``DESCRIPTOR``: a file descriptor that the key holder inherits. ``RANDOM``: the key holder creates the
    passphrase of a new key store, and no process can read it.
    """

    ENVIRONMENT = "environment"
    TERMINAL = "terminal"
    DESCRIPTOR = "descriptor"
    RANDOM = "random"


class EngineKeys(SecretStruct, frozen=True, kw_only=True):
    """The keys that the engine uses itself. Each is derived from the master key, which cannot be computed from them.

    ``store_key`` authenticates the frames of the store, ``link_key`` signs download links, and ``secrets_key`` encrypts
    secrets in documents.
    """

    store_key: bytes
    link_key: bytes
    secrets_key: bytes


class StoreGeneration(FrozenStruct, frozen=True, kw_only=True):
    """A generation of the store, identified by the MAC (hex) of the first frame of its journal.

    The MAC covers the snapshot of the generation, the id of the workspace, and the MAC of the generation before.
    """

    number: int
    mac: str


# ---- messages to the key holder


class OpenKeyHolder(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The first message: the key store to open. The key holder answers with the messages below.

    ``tenant``: see :func:`sealyard.keys.passphrase.find_passphrase`. ``prompt``: the text of the prompt. ``attempts``:
    how often the user is asked after a wrong passphrase. ``reopen``: whether this key holder replaces one that died.
    """

    location: KeyStoreLocation
    source: PassphraseSource
    tenant: str = ""
    prompt: str = ""
    attempts: int = 1
    reopen: bool = False


class StartWorker(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests a crypto worker. The answer is :class:`WorkerStarted` or :class:`StartWorkerFailed`."""

    request_id: int


class KillWorker(FrozenStruct, frozen=True, kw_only=True, tag=True):
    pid: int


class GetStoreGeneration(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests the recorded generation of the store. The answer is :class:`StoreGenerationResponse`.

    The worker state stays open from this request on, until :class:`ReleaseWorkerState`.
    """

    request_id: int


class RecordStoreGeneration(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Like :class:`GetStoreGeneration`, but records a new generation first."""

    request_id: int
    generation: StoreGeneration


class ReleaseWorkerState(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The engine was closed: another process may use the worker state once no worker runs."""


ToKeyHolder = OpenKeyHolder | StartWorker | KillWorker | GetStoreGeneration | RecordStoreGeneration | ReleaseWorkerState


# ---- messages from the key holder


class TerminalReleased(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The key holder no longer uses the terminal."""


class KeyHolderReady(SecretStruct, frozen=True, kw_only=True, tag=True):
    """The key store is open."""

    keys: EngineKeys


class KeyHolderFailed(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The key store cannot be opened. The key holder exits."""

    error: ErrorInfo


class WorkerStarted(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """A worker was started. Two file descriptors accompany the message: the worker's input and output pipe."""

    request_id: int
    pid: int


class StartWorkerFailed(FrozenStruct, frozen=True, kw_only=True, tag=True):
    request_id: int
    error: ErrorInfo


class WorkerExited(FrozenStruct, frozen=True, kw_only=True, tag=True):
    pid: int


class StoreGenerationResponse(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """``generation``: the recorded generation of the store, or None if none was recorded or there is an error."""

    request_id: int
    generation: StoreGeneration | None = None
    error: ErrorInfo | None = None


FromKeyHolder = (
    TerminalReleased
    | KeyHolderReady
    | KeyHolderFailed
    | WorkerStarted
    | StartWorkerFailed
    | WorkerExited
    | StoreGenerationResponse
)


# ---- messages between the key holder and a worker


class OpenKeys(SecretStruct, frozen=True, kw_only=True, tag=True):
    """The first message to a worker: its workspace and the master key."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("workspace",)

    workspace: str
    workspace_id: str
    master_key: bytes


class WorkerStateInfo(FrozenStruct, frozen=True, kw_only=True):
    """What the worker state says about the audit log: the size and root (hex) of the last signed checkpoint.

    ``size`` is 0 if no checkpoint was signed. ``migrated_intents``: how many intents of an earlier version were taken
    over, if the key holder has just created the state of an existing workspace.
    """

    size: int = 0
    root: str = ""
    migrated_intents: int | None = None


class RecordIntent(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Sent by a worker before it signs: records what it is about to sign (``sha256``: hex)."""

    request_id: int
    task_id: str
    fencing_token: int
    sha256: str


class RecordCheckpoint(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Sent by a worker before it signs a checkpoint. ``proof``: RFC 6962 consistency proof (hex) from the last one."""

    request_id: int
    size: int
    root: str
    proof: tuple[str, ...] = ()


class GetWorkerState(FrozenStruct, frozen=True, kw_only=True, tag=True):
    request_id: int


class HolderResponse(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The answer to a request of a worker: the state, if it was requested, or the error."""

    request_id: int
    state: WorkerStateInfo | None = None
    error: ErrorInfo | None = None


WorkerToKeyHolder = RecordIntent | RecordCheckpoint | GetWorkerState
KeyHolderToWorker = OpenKeys | HolderResponse
