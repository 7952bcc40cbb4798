"""Requests that front ends send to the engine, and the pages and views that it returns."""

from __future__ import annotations

from typing import ClassVar

from msgspec import UNSET, UnsetType

from sealyard.model.access import AclRule, Membership, Permission, Subject
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.audit import AuditEntry
from sealyard.model.backend_keys import ProviderStatus
from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.device_configs import (
    DEFAULT_FORMAT,
    DEFAULT_LINK_TTL,
    DEFAULT_RETENTION_SECONDS,
    DeviceConfig,
)
from sealyard.model.errors import ErrorInfo
from sealyard.model.key_checks import KeyCheck
from sealyard.model.metadata_changes import MetadataChanges
from sealyard.model.subject_names import SubjectNames, collect_subject_names
from sealyard.model.task_search import NO_NAMES, TaskSearchFields, search_text
from sealyard.model.tasks import DetailedStatus, InputFile, ResultState, Task, TaskKind, TaskStatus


class TaskRequest(FrozenStruct, frozen=True, kw_only=True):
    """The fields that the requests for all kinds of tasks have in common.

    ``config``: id or name of a device configuration. ``justification``: why the task is needed, for its approvers.
    ``resubmission_of``: id of the rejected, cancelled or failed task that the new one replaces. If unset, these two are
    not encoded, so that the digests of requests from before these fields remain valid.
    """

    config: str
    name: str = ""
    content_type: str = ""
    client_token: str | None = None
    justification: str | UnsetType = UNSET
    resubmission_of: str | UnsetType = UNSET


class PackageRequest(TaskRequest, frozen=True, kw_only=True):
    """Requests a package. ``firmware``: files in packing order."""

    firmware: tuple[InputFile, ...]
    metadata: tuple[InputFile, ...] = ()


class EncryptionRequest(TaskRequest, frozen=True, kw_only=True):
    """Requests the encryption of one file.

    ``encryption_key``: name or URI of an encryption key of the configuration; by default its first one. If unset, it
    is not encoded, so that the digests of requests from before this field remain valid.
    """

    file: InputFile
    encryption_key: str | UnsetType = UNSET


class SigningRequest(TaskRequest, frozen=True, kw_only=True):
    """Requests a signature over ``message``. ``is_digest``: ``message`` is a SHA-256 digest of 32 bytes."""

    message: bytes
    is_digest: bool = False
    file_name: str = ""


class RequestCheck(FrozenStruct, frozen=True, kw_only=True):
    """The outcome of a dry run: a request for a task was checked, and would be accepted.

    ``task``: the task that the request would create, without an id and an approval digest; if ``exists`` is set, the
    task that an earlier request with the same client token created. ``eligible_approvers``: number of people who can
    approve the task.
    """

    task: Task
    exists: bool = False
    eligible_approvers: int = 0

    @property
    def can_reach_quorum(self) -> bool:
        """Whether enough people can approve the task."""
        return self.eligible_approvers >= self.task.approvals_required


class EncryptionKeyRequest(FrozenStruct, frozen=True, kw_only=True):
    """Requests an encryption key of a configuration.

    ``uri``: an existing key; if it is None, a local key is generated. ``wrapping_key``: the URI of the key in a token
    or key service that wraps the generated key. The workspace registers the wrapping key if necessary.
    """

    algorithm: EncryptionAlgorithm
    uri: str | None = None
    wrapping_key: str | None = None
    name: str = ""
    description: str = ""


class SigningKeyRequest(FrozenStruct, frozen=True, kw_only=True):
    """Requests a signing key of a configuration.

    ``uri``: an existing key, or ``x509:`` and the SHA-256 fingerprint of its certificate; if it is None, a key is
    generated. A key of a token or key service that the workspace does not have yet is registered. ``provider``: the
    section of the worker settings in whose token or key service the key is generated; None for a local key.
    """

    algorithm: SigningAlgorithm
    uri: str | None = None
    provider: str | None = None
    name: str = ""
    description: str = ""


class DeviceRequest(FrozenStruct, frozen=True, kw_only=True):
    """Requests a new device configuration.

    Generated keys are named ``local:<name>-encryption`` and ``local:<name>-signing``, with a number if the name is in
    use. To name an existing key, the subject needs permission to UPDATE keys, or to UPDATE every configuration that
    uses the key. If no configuration uses the key yet, the subject that created it may also name it. To register a key
    or to generate one in a token or key service, the subject needs permission to CREATE keys.

    ``view``, ``use``, ``approve``: the subjects that may perform these actions. ``purpose``: of the generated keys; by
    default DATA for an algorithm that signs digests, because signing tasks need that, and BOTH for all others.
    """

    name: str
    encryption_keys: tuple[EncryptionKeyRequest, ...]
    signing_keys: tuple[SigningKeyRequest, ...]
    view: tuple[str, ...] = ()
    use: tuple[str, ...] = ()
    approve: tuple[str, ...] = ()
    approvals_required: int = 1
    format: str = DEFAULT_FORMAT
    link_ttl_seconds: int = DEFAULT_LINK_TTL
    retention_seconds: int = DEFAULT_RETENTION_SECONDS
    purpose: KeyPurpose | None = None
    description: str = ""


class DeviceUpdate(FrozenStruct, frozen=True, kw_only=True):
    """Requests a new version of a device configuration, with the current version of each of its keys.

    Fields that are None keep their value.
    """

    config: str
    approvals_required: int | None = None
    format: str | None = None
    link_ttl_seconds: int | None = None
    retention_seconds: int | None = None
    description: str | None = None


class KeyImport(SecretStruct, frozen=True, kw_only=True):
    """Requests the import of a key from the file ``path``: PEM, PKCS#12 or raw AES bytes.

    The client opens the file. ``certificate``: path of a certificate file. ``wrapping_key``: see :class:`KeyContent`.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("uri", "path")

    uri: str
    path: str
    kind: KeyType
    purpose: KeyPurpose = KeyPurpose.BOTH
    password: str | None = None
    certificate: str | None = None
    wrapping_key: str | None = None


class KeyContent(SecretStruct, frozen=True, kw_only=True):
    """A key to import, as the contents of its files. ``certificate``: content of a certificate file.

    ``wrapping_key``: the URI of a registered key in a token or key service, which wraps the imported symmetric key.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("uri",)

    uri: str
    content: bytes
    kind: KeyType
    purpose: KeyPurpose = KeyPurpose.BOTH
    password: str | None = None
    certificate: bytes | None = None
    wrapping_key: str | None = None


class KeyGeneration(FrozenStruct, frozen=True, kw_only=True):
    """A key to generate, in the token or key service that its URI names, or in the workspace.

    ``wrapping_key``: the URI of a registered key in a token or key service, which wraps a local symmetric key.
    """

    uri: str
    kind: KeyType
    purpose: KeyPurpose = KeyPurpose.BOTH
    wrapping_key: str | None = None


class KeyRegistration(SecretStruct, frozen=True, kw_only=True):
    """A key to register that its token or key service has already. ``kind``: its type; None for any.

    ``certificate``: content of a file with its certificate. Without it, a signing key keeps the certificate that the
    token stores, or gets a self-signed one.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("uri",)

    uri: str
    kind: KeyType | None = None
    purpose: KeyPurpose = KeyPurpose.BOTH
    certificate: bytes | None = None


class CertificateContent(SecretStruct, frozen=True, kw_only=True):
    """The content of a certificate file for a key. The file may also contain private keys."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("uri",)

    uri: str
    content: bytes


class ExportedKey(SecretStruct, frozen=True, kw_only=True):
    """An exported symmetric key: ``content`` are its bytes."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("uri", "version")

    uri: str
    version: int
    content: bytes


class TaskFilter(FrozenStruct, frozen=True, kw_only=True):
    """Selects tasks. A task must match all fields that are set.

    ``status``: a REJECTED or WITHDRAWN task is also CANCELLED. ``config``: a configuration's id or name.
    ``result_state``: the state of the result at the time of the request. ``text``: searched in everything that lists
    show of a task, see :mod:`sealyard.model.task_search`, ignoring case. ``awaiting_my_approval``: only tasks on which
    the requesting subject may still decide. ``oldest_first``: return the oldest tasks first instead of the newest.
    """

    status: TaskStatus | DetailedStatus | None = None
    kind: TaskKind | None = None
    config: str | None = None
    created_by: str | None = None
    result_state: ResultState | None = None
    text: str = ""
    awaiting_my_approval: bool = False
    oldest_first: bool = False

    def matches(self, task: Task, names: SubjectNames = NO_NAMES) -> bool:
        """Return whether ``task`` matches. Ignores ``awaiting_my_approval``, which only an engine can evaluate.

        ``names``: display names of subjects, in which the text is searched as well.
        """
        return (
            self.status in (None, task.status, task.detailed_status)
            and self.kind in (None, task.kind)
            and self.config in (None, task.config_id, task.config_name)
            and self.created_by in (None, task.created_by)
            and (self.result_state is None or (task.result is not None and task.result.state is self.result_state))
            and self.matches_text(task, names)
        )

    def matches_text(self, task: Task | TaskSearchFields, names: SubjectNames = NO_NAMES) -> bool:
        return not self.text or self.text.casefold() in search_text(task, names)


class TaskPage(FrozenStruct, frozen=True, kw_only=True):
    """A page of tasks, in the requested order.

    ``next``: cursor of the next page, or None on the last one. ``total``: number of matching tasks on all pages, or
    None if they were not counted.
    """

    tasks: tuple[Task, ...]
    next: str | None = None
    total: int | None = None


class TaskCounts(FrozenStruct, frozen=True, kw_only=True):
    """Counts of the tasks that the subject may see. Statuses and states without tasks are omitted.

    ``results``: by recorded result state; the engine records each state change when it happens. ``mine``: tasks that
    the subject created. ``awaiting_my_approval``: tasks on which the subject may still decide.
    """

    by_status: dict[TaskStatus, int]
    results: dict[ResultState, int]
    mine: int
    awaiting_my_approval: int

    @property
    def total(self) -> int:
        return sum(self.by_status.values())


class AuditPage(FrozenStruct, frozen=True, kw_only=True):
    """A page of audit entries, newest first.

    The next page contains entries with sequence numbers below ``next``, which is None on the last page.
    """

    entries: tuple[AuditEntry, ...]
    next: int | None = None


class ApprovalReview(FrozenStruct, frozen=True, kw_only=True):
    """The information that an approver must see before a decision.

    ``blocked_reason``: why the requesting subject may not decide; empty if it may. ``metadata``: name and content of
    each metadata file, untrusted and unescaped; truncated only if larger than any file that the ``se-1`` format
    accepts. ``previous``: the last released package of the same configuration. ``newer_version``: the newest version of
    the configuration, if the task uses an older one. ``metadata_changes``: the changed fields of each changed metadata
    file since ``previous``. ``warnings``: about the files, in addition to those of the task. ``resubmission_of``: the
    earlier task that the task replaces, if the requesting subject may view it.
    """

    task: Task
    configuration: DeviceConfig
    blocked_reason: str = ""
    metadata: tuple[tuple[str, bytes], ...] = ()
    previous: Task | None = None
    newer_version: int | None = None
    metadata_changes: tuple[MetadataChanges, ...] = ()
    warnings: tuple[str, ...] = ()
    resubmission_of: Task | None = None


class AccessControlList(FrozenStruct, frozen=True, kw_only=True):
    """All subjects, memberships and rules of a workspace.

    ``subjects`` includes disabled subjects; ``removed`` are those that were removed, and have no rules or memberships.
    """

    subjects: tuple[Subject, ...]
    memberships: tuple[Membership, ...]
    rules: tuple[AclRule, ...]
    removed: tuple[Subject, ...] = ()

    @property
    def active_subjects(self) -> tuple[Subject, ...]:
        """The subjects that can act, approve, or grant permissions to their members."""
        return tuple(subject for subject in self.subjects if subject.is_active)

    @property
    def names(self) -> SubjectNames:
        """The display names of all subjects, including removed ones."""
        return collect_subject_names((*self.subjects, *self.removed))


class WorkspaceInfo(FrozenStruct, frozen=True, kw_only=True):
    """The open workspace, the current subject and its permissions.

    ``rights``: the subject's permissions, including those from groups. ``trust_note``: explains what dual control means
    in this workspace. ``audit_checkpointed``: number of audit entries that a checkpoint covers. ``clock_warning``: the
    one of the ``warnings`` that is about the system clock, if it is not trusted. ``key_failures``: the failed checks of
    active keys that the subject may see. ``provider_failures``: the key providers that failed their last check, for
    subjects that may view keys. ``store_verified``: whether the process that has the workspace open has
    verified its documents with the key of the store; False if they were read from the files only. ``server``: the host
    name of the server that answered, which is the active one if there are several; empty without a server.
    """

    id: str
    name: str
    location: str
    demo: bool
    subject: str
    trust_note: str
    read_only: bool
    key_store: str
    audit_size: int
    audit_checkpointed: int
    rights: tuple[Permission, ...] = ()
    warnings: tuple[str, ...] = ()
    clock_warning: ErrorInfo | None = None
    key_failures: tuple[KeyCheck, ...] = ()
    provider_failures: tuple[ProviderStatus, ...] = ()
    store_verified: bool = True
    server: str = ""


class UploadStatus(FrozenStruct, frozen=True, kw_only=True):
    """The state of an upload, as reported to its owner.

    ``name`` is untrusted text. ``size``: total bytes, or None if the client did not declare it; the content then ends
    with the single request that sends it. ``offset``: bytes received so far, which is the position of the next byte.
    ``sha256`` (hex) is set when the upload is complete.
    """

    id: str
    name: str
    size: int | None
    offset: int = 0
    sha256: str | None = None
    complete: bool = False
