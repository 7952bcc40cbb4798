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
from sealyard.model.provider_routes import ProviderRoute
from sealyard.model.zones import Enrollment, ZoneIdentity

NO_ANCHOR = "none"
"""As the folder of the freshness anchors: keep none."""


class KeyStoreLocation(FrozenStruct, frozen=True, kw_only=True):
    """Where the key store of a workspace or crypto host is. ``create``: whether to create its master key.

    ``anchors``: the folder of the freshness anchor, :data:`NO_ANCHOR`, or empty for the default place.
    ``crypto_host``: whether the folder is that of a crypto host, whose workers accept only signed orders. Its key store
    must have a pinned enrollment.
    """

    workspace: str
    workspace_id: str
    key_store: str
    create: bool = False
    anchors: str = ""
    crypto_host: bool = False


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
    secrets in documents. ``order_key``, a raw Ed25519 key, signs the orders to a crypto zone.
    """

    store_key: bytes
    link_key: bytes
    secrets_key: bytes
    order_key: bytes


class StoreGeneration(FrozenStruct, frozen=True, kw_only=True):
    """A generation of the store, identified by the MAC (hex) of the first frame of its journal.

    The MAC covers the snapshot of the generation, the id of the workspace, and the MAC of the generation before. In a
    database, a random number takes its place.
    """

    number: int
    mac: str


# ---- messages to the key holder


class OpenKeyHolder(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The first message: the key store to open. The key holder answers with the messages below.

    ``tenant``: see :func:`sealyard.keys.passphrase.find_passphrase`. ``prompt``: the text of the prompt. ``attempts``:
    how often the user is asked after a wrong passphrase. ``reopen``: whether this key holder replaces one that died.
    ``may_recover``: whether the key holder accepts :class:`RecoverState`. ``enrollment``: what to pin in the key store
    of a new crypto host.
    """

    location: KeyStoreLocation
    source: PassphraseSource
    tenant: str = ""
    prompt: str = ""
    attempts: int = 1
    reopen: bool = False
    may_recover: bool = False
    enrollment: Enrollment | None = None


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


class InspectState(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Compares the worker state with its freshness anchor. The answer is :class:`StateInspected`.

    ``audit_size``: size of the checkpoint after which :attr:`StateReport.newer_intents` are counted.
    """

    request_id: int
    audit_size: int = 0


class RecoverState(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Starts a new epoch of the worker state, and writes its freshness anchor. The answer is :class:`StateInspected`.

    ``note``: the newest checkpoint of the audit log, from which it continues. ``generation``: the generation of the
    store, from which it continues; None if it is the recorded one. ``adopt``: whether to accept a state without a valid
    anchor.
    """

    request_id: int
    note: str
    generation: StoreGeneration | None = None
    adopt: bool = False


ToKeyHolder = (
    OpenKeyHolder
    | StartWorker
    | KillWorker
    | GetStoreGeneration
    | RecordStoreGeneration
    | ReleaseWorkerState
    | InspectState
    | RecoverState
)


# ---- messages from the key holder


class TerminalReleased(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The key holder no longer uses the terminal."""


class KeyHolderReady(SecretStruct, frozen=True, kw_only=True, tag=True):
    """The key store is open.

    ``keys``: of a workspace. ``zone``: what the key store of a crypto host has pinned. One of them is set.
    """

    keys: EngineKeys | None = None
    zone: ZoneIdentity | None = None


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


class AnchorProblem(StrEnum):
    """Why the worker state does not match its freshness anchor.

    ``MISSING``: there is no anchor, though there was one. ``DAMAGED``: the key store did not make it. ``AHEAD``: it
    knows newer records than the state has. ``DIVERGED``: it knows other records. ``EPOCH``: the key store knows another
    epoch.
    """

    MISSING = "missing"
    DAMAGED = "damaged"
    AHEAD = "ahead"
    DIVERGED = "diverged"
    EPOCH = "epoch"


class RecentIntent(FrozenStruct, frozen=True, kw_only=True):
    """An intent that was recorded after the last signed checkpoint of the audit log."""

    task_id: str
    fencing_token: int


class StatePosition(FrozenStruct, frozen=True, kw_only=True):
    """A position in the worker state, and the last signed checkpoint of the audit log (``root``: hex) there."""

    epoch: str
    records: int
    audit_size: int
    audit_root: str


class StateReport(FrozenStruct, frozen=True, kw_only=True):
    """The worker state and its freshness anchor, None if there is no valid one. ``location``: where it is kept.

    ``store_generation``: the recorded generation of the store. ``newer_intents``: number of intents that were recorded
    after the checkpoint of the audit log that the request names.
    """

    state: StatePosition
    store_generation: StoreGeneration | None
    newer_intents: int
    recent_intents: tuple[RecentIntent, ...]
    anchor: StatePosition | None
    location: str
    problem: AnchorProblem | None


class StateInspected(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The answer to :class:`InspectState` and :class:`RecoverState`: the report, or the error."""

    request_id: int
    report: StateReport | None = None
    error: ErrorInfo | None = None


FromKeyHolder = (
    TerminalReleased
    | KeyHolderReady
    | KeyHolderFailed
    | WorkerStarted
    | StartWorkerFailed
    | WorkerExited
    | StoreGenerationResponse
    | StateInspected
)


# ---- messages between the key holder and a worker


class OpenKeys(SecretStruct, frozen=True, kw_only=True, tag=True):
    """The first message to a worker: its workspace, the master key, and the key providers of the worker settings.

    The worker inherits a socket for each of ``providers``, in the same order. ``providers_error``: why the worker
    settings cannot be used. ``order_key``: Ed25519, raw; the worker of a crypto host accepts only orders that it
    verifies.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("workspace",)

    workspace: str
    workspace_id: str
    master_key: bytes
    providers: tuple[ProviderRoute, ...] = ()
    providers_error: ErrorInfo | None = None
    order_key: bytes | None = None


class RecoveryDetails(FrozenStruct, frozen=True, kw_only=True):
    """A recovery: the old position in the worker state, its anchor, and the checkpoint from which the log continues.

    ``generation``: the generation from which the store continues. ``old_generation``: the one that was recorded before.
    ``newer_intents``: number of intents that were recorded after the checkpoint; they stay in force.
    """

    problem: AnchorProblem | None
    state: StatePosition
    anchor: StatePosition | None
    audit_size: int
    audit_root: str
    generation: StoreGeneration | None = None
    old_generation: StoreGeneration | None = None
    newer_intents: int = 0


class StateEvent(FrozenStruct, frozen=True, kw_only=True):
    """A record of the worker state that needs an entry in the audit log. One of the last three fields is set.

    ``record``: its number. ``migrated_intents``: how many intents of an earlier version were taken over, when the state
    of an existing workspace was created. ``anchor``: where the freshness anchor is kept from then on.
    """

    record: int
    migrated_intents: int | None = None
    anchor: str | None = None
    recovery: RecoveryDetails | None = None


class WorkerStateInfo(FrozenStruct, frozen=True, kw_only=True):
    """What the worker state says about the audit log: the size and root (hex) of the last signed checkpoint.

    ``size`` is 0 if no checkpoint was signed. ``recent_intents``: the latest one of each task that was signed since;
    the store must know these tasks. ``unaudited``: the events that have no audit entry yet.
    """

    size: int = 0
    root: str = ""
    recent_intents: tuple[RecentIntent, ...] = ()
    unaudited: tuple[StateEvent, ...] = ()


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


class RecordAudited(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Sent by a worker when the audit log has an entry for each event up to now."""

    request_id: int


class HolderResponse(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The answer to a request of a worker: the state, if it was requested, or the error."""

    request_id: int
    state: WorkerStateInfo | None = None
    error: ErrorInfo | None = None


WorkerToKeyHolder = RecordIntent | RecordCheckpoint | GetWorkerState | RecordAudited
KeyHolderToWorker = OpenKeys | HolderResponse
