"""Request and response bodies of the API, and their conversion from and to model types.

Calls that the Sign & Encrypt API documents use its names; all other names are Sealyard's own.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
from msgspec import UNSET, UnsetType

from sealyard.model.access import Action, SubjectKind, parse_subject
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.approval import has_quorum
from sealyard.model.audit import AuditEntry
from sealyard.model.base import FrozenStruct, LongText, SecretStruct, ShortText
from sealyard.model.device_configs import (
    DEFAULT_FORMAT,
    DEFAULT_LINK_TTL,
    DEFAULT_RETENTION_SECONDS,
    DeviceConfig,
)
from sealyard.model.errors import UsageError
from sealyard.model.requests import DeviceRequest, DeviceUpdate
from sealyard.model.tasks import DecisionOrigin, Subtask, Task, TaskKind, Verdict

API = "/api/v1"

DEFAULT_REJECTION_REASON = "none given"
"""Reason that is recorded if a rejection gives none, which the Sign & Encrypt API allows."""


class TaskResponse(Task, frozen=True, kw_only=True):
    """A task, with additional members for compatibility with the Sign & Encrypt API.

    The task's id is repeated as packagingTaskId, encryptionTaskId or signingTaskId, depending on its kind, and configId
    is repeated as deviceConfigId. A step of a packaging task has the id of that task as packagingTaskId. ``outcome``:
    signature in Base64, for a signing task that is DONE. ``decision``: REJECTED if an approver rejected the task,
    APPROVED if it has all required approvals. ``download_url``: link to the result; downloading requires no token until
    the link expires.
    """

    device_config_id: str
    packaging_task_id: str | UnsetType = UNSET
    encryption_task_id: str | UnsetType = UNSET
    signing_task_id: str | UnsetType = UNSET
    outcome: str | UnsetType = UNSET
    decision: Verdict | UnsetType = UNSET
    download_url: str | UnsetType = UNSET


class AuditEntryResponse(AuditEntry, frozen=True, kw_only=True):
    """An audit entry. For compatibility with the Sign & Encrypt API, its ``seq`` is repeated as id."""

    id: str


class DeviceResponse(DeviceConfig, frozen=True, kw_only=True):
    """A device configuration. For compatibility with the Sign & Encrypt API, its id is repeated as configId."""

    config_id: str


class SubjectReference(FrozenStruct, frozen=True, kw_only=True):
    """A subject as an object. ``type``: GROUP or CLIENT, as in the Sign & Encrypt API, or USER."""

    id: ShortText
    type: SubjectKind

    @property
    def subject(self) -> str:
        return parse_subject(f"{self.type}:{self.id}")


class SubjectResponse(FrozenStruct, frozen=True, kw_only=True):
    """The subject of the caller, or a group of which it is a member."""

    id: str
    type: SubjectKind
    subject: str


class KeyReference(FrozenStruct, frozen=True, kw_only=True):
    """A key of a device configuration.

    ``reference``: URI of an existing key; without it a new key is generated. To use an existing key, the caller needs
    permission to UPDATE keys, or to UPDATE every configuration that already uses the key, or must have imported the key
    if no configuration uses it yet. ``name`` and ``description``: for display.
    """

    name: ShortText = ""
    description: LongText = ""
    reference: ShortText | None = None


class EncryptionKeyReference(KeyReference, frozen=True, kw_only=True):
    algorithm: EncryptionAlgorithm


class SigningKeyReference(KeyReference, frozen=True, kw_only=True):
    algorithm: SigningAlgorithm


class DeviceBody(FrozenStruct, frozen=True, kw_only=True):
    """A new device configuration.

    ``encryption_keys``, ``signing_keys``: the first key of each list is used. ``acl``: subjects by action (USE,
    APPROVE), as objects or in the form ``KIND:name``.
    """

    name: ShortText
    encryption_keys: tuple[EncryptionKeyReference, ...]
    signing_keys: tuple[SigningKeyReference, ...]
    acl: dict[str, tuple[SubjectReference | ShortText, ...]] = msgspec.field(default_factory=dict)
    description: LongText = ""
    approvals_required: int = 1
    format: ShortText = DEFAULT_FORMAT
    link_ttl_seconds: int = DEFAULT_LINK_TTL
    retention_seconds: int = DEFAULT_RETENTION_SECONDS
    purpose: KeyPurpose = KeyPurpose.BOTH


class DeviceUpdateBody(FrozenStruct, frozen=True, kw_only=True):
    """A new version of a device configuration. Omitted members keep their values."""

    approvals_required: int | None = None
    format: ShortText | None = None
    link_ttl_seconds: int | None = None
    retention_seconds: int | None = None
    description: LongText | None = None

    def request(self, config: str) -> DeviceUpdate:
        return DeviceUpdate(config=config, **msgspec.structs.asdict(self))


class DecisionBody(SecretStruct, frozen=True, kw_only=True):
    """A decision on a task.

    ``digest``: the approval digest that the approver reviewed. ``origin``: whether the decision was made by a person at
    a terminal or by a machine client; if omitted, a one-time password stands for a person.
    """

    REPR_FIELDS = ("decision",)

    decision: Verdict
    reason: LongText = ""
    digest: ShortText | None = None
    origin: DecisionOrigin | None = None
    one_time_password: ShortText | None = None

    @property
    def effective_origin(self) -> DecisionOrigin:
        if self.origin is not None:
            return self.origin
        return DecisionOrigin.TERMINAL if self.one_time_password else DecisionOrigin.MACHINE

    @property
    def reason_text(self) -> str:
        """The reason to record. The engine requires one for a rejection, but the Sign & Encrypt API does not."""
        reason = self.reason.strip()
        return reason or (DEFAULT_REJECTION_REASON if self.decision is Verdict.REJECTED else "")


class ReasonBody(FrozenStruct, frozen=True, kw_only=True):
    reason: LongText


class PackageBody(FrozenStruct, frozen=True, kw_only=True):
    """A package of complete uploads. ``input_ids``: firmware, in the order in which it is packaged."""

    device_config_id: ShortText
    input_ids: tuple[ShortText, ...]
    metadata_ids: tuple[ShortText, ...] = ()
    name: ShortText = ""
    content_type: ShortText = ""


class EncryptionBody(FrozenStruct, frozen=True, kw_only=True):
    device_config_id: ShortText
    input_id: ShortText
    name: ShortText = ""
    content_type: ShortText = ""


class SigningBody(FrozenStruct, frozen=True, kw_only=True):
    """A message or digest to sign.

    ``input_base64``: the message, or a SHA-256 digest. ``is_digest``: whether it is a digest; by default whether the
    device's signing algorithm signs digests.
    """

    device_config_id: ShortText
    input_base64: str
    name: ShortText = ""
    content_type: ShortText = ""
    is_digest: bool | None = None
    file_name: ShortText = ""


class RuleBody(FrozenStruct, frozen=True, kw_only=True):
    """A new rule. ``confirmed``: add it even if it leaves a device configuration with too few approvers."""

    subject: ShortText
    resource: ShortText
    action: Action
    confirmed: bool = False


class SubjectBody(FrozenStruct, frozen=True, kw_only=True):
    subject: ShortText
    display_name: ShortText = ""


class MemberBody(FrozenStruct, frozen=True, kw_only=True):
    group: ShortText
    member: ShortText
    confirmed: bool = False


class KeyBody(SecretStruct, frozen=True, kw_only=True):
    """A key to import.

    ``content``: PEM, PKCS#12 or raw AES bytes. In JSON, ``content`` and ``certificate`` are encoded in Base64.
    """

    REPR_FIELDS = ("uri",)

    uri: ShortText
    kind: KeyType
    content: bytes
    purpose: KeyPurpose = KeyPurpose.BOTH
    password: ShortText | None = None
    certificate: bytes | None = None


class KeyUriBody(FrozenStruct, frozen=True, kw_only=True):
    uri: ShortText


class ConfirmationBody(FrozenStruct, frozen=True, kw_only=True):
    confirmed: bool = False


class CheckpointBody(FrozenStruct, frozen=True, kw_only=True):
    checkpoint: LongText | None = None


class EnrollmentBody(SecretStruct, frozen=True, kw_only=True):
    current: ShortText | None = None


class PasswordBody(SecretStruct, frozen=True, kw_only=True):
    password: ShortText


class CertificateResponse(FrozenStruct, frozen=True, kw_only=True):
    name: str
    certificate: str


class AlgorithmResponse(FrozenStruct, frozen=True, kw_only=True):
    """An algorithm. ``reference_needed``: whether an existing key must be named; otherwise one can be generated."""

    algorithm: str
    reference_needed: bool
    key_kinds: tuple[KeyType, ...]
    caveats: tuple[str, ...]


class AlgorithmsResponse(FrozenStruct, frozen=True, kw_only=True):
    encryption: tuple[AlgorithmResponse, ...]
    signing: tuple[AlgorithmResponse, ...]
    formats: tuple[str, ...]


def task_response(task: Task, base_url: str) -> TaskResponse:
    """Return the response body of a task. ``base_url``: base URL of the API, without a trailing slash."""
    result = task.result
    return TaskResponse(
        **{**_field_values(task), f"{task.kind}_task_id": task.id},
        device_config_id=task.config_id,
        decision=_decision(task),
        outcome=result.signature if result is not None and result.signature is not None else UNSET,
        download_url=link_url(result.link, base_url) if result is not None and result.link is not None else UNSET,
    )


def subtask_response(parent: Task, subtask: Subtask, base_url: str) -> TaskResponse:
    """Return the response body of a step of a packaging task, whose inputs and keys are those of ``parent``."""
    step_number = int(subtask.id.rpartition(".")[2])
    is_encryption = subtask.kind is TaskKind.ENCRYPTION
    step = msgspec.structs.replace(
        parent,
        id=subtask.id,
        kind=subtask.kind,
        status=subtask.status,
        name=subtask.name,
        inputs=parent.inputs[step_number - 1 : step_number] if is_encryption else (),
        metadata=(),
        encryption_key=parent.encryption_key if is_encryption else None,
        signing_key=None if is_encryption else parent.signing_key,
        approvals=(),
        approvals_required=0,
        approval_digest="",
        approval_expires_at=None,
        client_token=None,
        subtasks=(),
        intent=None,
        result=None,
        history=(),
        live=None,
    )
    return msgspec.structs.replace(task_response(step, base_url), packaging_task_id=parent.id)


def _decision(task: Task) -> Verdict | UnsetType:
    if any(decision.verdict is Verdict.REJECTED for decision in task.approvals):
        return Verdict.REJECTED
    return Verdict.APPROVED if task.approvals_required and has_quorum(task) else UNSET


def audit_entry_response(entry: AuditEntry) -> AuditEntryResponse:
    return AuditEntryResponse(**_field_values(entry), id=str(entry.seq))


def device_response(device: DeviceConfig) -> DeviceResponse:
    return DeviceResponse(**_field_values(device), config_id=device.id)


def device_request(body: DeviceBody) -> DeviceRequest:
    """Convert the body of a new device configuration.

    Raises :class:`UsageError` if a key is missing, or if ``acl`` contains actions other than USE and APPROVE.
    """
    if not body.encryption_keys or not body.signing_keys:
        raise UsageError(
            "Missing key: a device configuration needs an encryption key and a signing key.",
            "Set the algorithm of each key.",
        )
    if set(body.acl) - {Action.USE, Action.APPROVE}:
        raise UsageError("Invalid action in acl: use USE and APPROVE.", "Add other rules with POST /api/v1/acl.")
    encryption_key, signing_key = body.encryption_keys[0], body.signing_keys[0]
    return DeviceRequest(
        name=body.name,
        encryption=encryption_key.algorithm,
        signing=signing_key.algorithm,
        use=_parse_subjects(body.acl.get(Action.USE, ())),
        approve=_parse_subjects(body.acl.get(Action.APPROVE, ())),
        approvals_required=body.approvals_required,
        format=body.format,
        link_ttl_seconds=body.link_ttl_seconds,
        retention_seconds=body.retention_seconds,
        purpose=body.purpose,
        description=body.description,
        encryption_key=encryption_key.reference or None,
        signing_key=signing_key.reference or None,
    )


def subject_response(subject: str) -> SubjectResponse:
    kind, _, name = subject.partition(":")
    return SubjectResponse(id=name, type=SubjectKind(kind), subject=subject)


def link_url(link: str, base_url: str) -> str:
    """Return the API URL of a link ``sealyard:<workspace>/<task>?…``."""
    return f"{base_url}{API}/link/{link.partition(':')[2]}"


def link_from_url(workspace_id: str, task_id: str, expires: str, signature: str) -> str:
    """Return the link ``sealyard:…`` for the parts of an API URL, without verifying it."""
    return f"sealyard:{workspace_id}/{task_id}?expires={expires}&signature={signature}"


def next_page_url(url: str, cursor: str) -> str:
    """Return ``url`` with its query parameter ``cursor`` replaced."""
    parts = urlsplit(url)
    query = {**parse_qs(parts.query), "cursor": [cursor]}
    return parts._replace(query=urlencode(query, doseq=True)).geturl()


def _parse_subjects(references: tuple[SubjectReference | str, ...]) -> tuple[str, ...]:
    return tuple(
        parse_subject(reference) if isinstance(reference, str) else reference.subject for reference in references
    )


def _field_values(value: FrozenStruct) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}
