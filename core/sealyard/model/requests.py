"""What a front end asks of the engine, and the pages and views it gets back."""

from __future__ import annotations

from typing import ClassVar

from sealyard.model.access import AclRule, Membership, Permission, Subject
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.audit import AuditEntry
from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.device_configs import (
    DEFAULT_FORMAT,
    DEFAULT_LINK_TTL,
    DEFAULT_RETENTION_SECONDS,
    DeviceConfig,
)
from sealyard.model.tasks import InputFile, ResultState, Task, TaskKind, TaskStatus


class PackageRequest(FrozenStruct, frozen=True, kw_only=True):
    """``config`` is a configuration's id or name; ``firmware`` in the order it is to be packed."""

    config: str
    firmware: tuple[InputFile, ...]
    metadata: tuple[InputFile, ...] = ()
    name: str = ""
    content_type: str = ""
    client_token: str | None = None


class EncryptionRequest(FrozenStruct, frozen=True, kw_only=True):
    config: str
    file: InputFile
    name: str = ""
    content_type: str = ""
    client_token: str | None = None


class SigningRequest(FrozenStruct, frozen=True, kw_only=True):
    """``message`` is what the algorithm takes; ``is_digest`` says that it is a finished SHA-256 of 32 bytes."""

    config: str
    message: bytes
    is_digest: bool = False
    file_name: str = ""
    name: str = ""
    content_type: str = ""
    client_token: str | None = None


class DeviceRequest(FrozenStruct, frozen=True, kw_only=True):
    """A new configuration. Keys are generated as ``local:<name>-encryption`` and ``-signing`` where none is named.

    To name one takes the right to UPDATE keys, or every configuration that uses it; who brought it in may as long as
    none does.
    """

    name: str
    encryption: EncryptionAlgorithm
    signing: SigningAlgorithm
    use: tuple[str, ...] = ()
    approve: tuple[str, ...] = ()
    approvals_required: int = 1
    format: str = DEFAULT_FORMAT
    link_ttl_seconds: int = DEFAULT_LINK_TTL
    retention_seconds: int = DEFAULT_RETENTION_SECONDS
    purpose: KeyPurpose = KeyPurpose.BOTH
    description: str = ""
    encryption_key: str | None = None
    signing_key: str | None = None


class DeviceUpdate(FrozenStruct, frozen=True, kw_only=True):
    """A new version of a configuration; what is None stays as it is. Keys go to their current versions."""

    config: str
    approvals_required: int | None = None
    format: str | None = None
    link_ttl_seconds: int | None = None
    retention_seconds: int | None = None
    description: str | None = None


class KeyImport(SecretStruct, frozen=True, kw_only=True):
    """The crypto worker opens ``path``; PEM, PKCS#12 or raw AES bytes. ``certificate`` is a path too."""

    SHOWN: ClassVar[tuple[str, ...]] = ("uri", "path")

    uri: str
    path: str
    kind: KeyType
    purpose: KeyPurpose = KeyPurpose.BOTH
    password: str | None = None
    certificate: str | None = None


class Named(FrozenStruct, frozen=True, kw_only=True):
    name: str


class TaskSearchFields(FrozenStruct, frozen=True, kw_only=True):
    """What the text of a filter is looked for in: a part of a task, read sooner than the whole."""

    id: str
    name: str
    inputs: tuple[Named, ...] = ()
    metadata: tuple[Named, ...] = ()


class TaskFilter(FrozenStruct, frozen=True, kw_only=True):
    """All that are set must hold; ``text`` is looked for in name, id and file names, case ignored.

    ``config``: a configuration's id or name. ``result_state``: as it stands at the moment of asking.
    ``awaiting_my_approval``: only tasks this subject may still decide on. ``oldest_first`` turns the order round.
    """

    status: TaskStatus | None = None
    kind: TaskKind | None = None
    config: str | None = None
    created_by: str | None = None
    result_state: ResultState | None = None
    text: str = ""
    awaiting_my_approval: bool = False
    oldest_first: bool = False

    def matches(self, task: Task) -> bool:
        """Whether all holds for ``task`` but ``awaiting_my_approval``, which takes an engine to tell."""
        return (
            self.status in (None, task.status)
            and self.kind in (None, task.kind)
            and self.config in (None, task.config_id, task.config_name)
            and self.created_by in (None, task.created_by)
            and (self.result_state is None or (task.result is not None and task.result.state is self.result_state))
            and self.matches_text(task)
        )

    def matches_text(self, task: Task | TaskSearchFields) -> bool:
        return not self.text or self.text.casefold() in _searchable(task)


def _searchable(task: Task | TaskSearchFields) -> str:
    return "\n".join((task.id, task.name, *(each.name for each in (*task.inputs, *task.metadata)))).casefold()


class TaskPage(FrozenStruct, frozen=True, kw_only=True):
    """In the order that was asked for. ``next`` continues; None at the end.

    ``total`` counts all that match; None where not counted.
    """

    tasks: tuple[Task, ...]
    next: str | None = None
    total: int | None = None


class TaskCounts(FrozenStruct, frozen=True, kw_only=True):
    """How many tasks the subject sees; what there is none of is left out.

    ``results``: by the states that the engine has recorded, which it does as they change. ``mine``: asked for by
    the subject. ``awaiting_my_approval``: those it may still decide on.
    """

    by_status: dict[TaskStatus, int]
    results: dict[ResultState, int]
    mine: int
    awaiting_my_approval: int

    @property
    def total(self) -> int:
        return sum(self.by_status.values())


class AuditPage(FrozenStruct, frozen=True, kw_only=True):
    """Newest first; ``next`` is the sequence number to go on below, None at the end."""

    entries: tuple[AuditEntry, ...]
    next: int | None = None


class ApprovalReview(FrozenStruct, frozen=True, kw_only=True):
    """All an approver must see before a decision, and whether this subject may decide (``blocked_reason`` is empty
    then).

    ``metadata``: name and beginning of each metadata file, foreign bytes as they are; all of what se-1 takes.
    ``previous``: the last approved package of the same configuration. ``newer_version``: of the configuration, where
    there is one.
    """

    task: Task
    configuration: DeviceConfig
    blocked_reason: str = ""
    metadata: tuple[tuple[str, bytes], ...] = ()
    previous: Task | None = None
    newer_version: int | None = None


class AccessControlList(FrozenStruct, frozen=True, kw_only=True):
    """The whole access control list."""

    subjects: tuple[Subject, ...]
    memberships: tuple[Membership, ...]
    rules: tuple[AclRule, ...]


class WorkspaceInfo(FrozenStruct, frozen=True, kw_only=True):
    """Where one is, as whom, with which ``rights`` (through groups too), and what four eyes means here."""

    id: str
    name: str
    location: str
    demo: bool
    subject: str
    four_eyes: str
    read_only: bool
    key_store: str
    audit_size: int
    audit_sealed: int
    rights: tuple[Permission, ...] = ()
    warnings: tuple[str, ...] = ()


class UploadStatus(FrozenStruct, frozen=True, kw_only=True):
    """An upload as its owner sees it. ``size`` and ``offset`` in bytes; the next byte wanted is that at ``offset``.

    ``size`` None: not said beforehand; the content ends where the one request that sends it does. ``sha256`` (hex)
    is there once it is complete. ``name`` is foreign text.
    """

    id: str
    name: str
    size: int | None
    offset: int = 0
    sha256: str | None = None
    complete: bool = False
