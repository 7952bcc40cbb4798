"""Request and response bodies of the API, and their conversion to and from model types.

Operations documented by the Sign & Encrypt API use its names; all other names are Sealyard's own.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
from msgspec import UNSET, Meta, UnsetType

from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.approval import has_quorum
from sealyard.model.audit import AuditEntry
from sealyard.model.base import FrozenStruct, LongText, SecretStruct, ShortText
from sealyard.model.tasks import DecisionOrigin, DetailedStatus, Subtask, Task, TaskKind, Verdict

API = "/api/v1"

DEFAULT_REJECTION_REASON = "none given"
"""Reason recorded for a rejection without one, which the Sign & Encrypt API allows."""


class TaskResponse(Task, frozen=True, kw_only=True):
    """A task, with additional members for compatibility with the Sign & Encrypt API.

    The id of the task is repeated as ``packagingTaskId``, ``encryptionTaskId`` or ``signingTaskId``, depending on its
    kind, and ``configId`` is repeated as ``deviceConfigId``. In a step of a packaging task, ``packagingTaskId`` is the
    id of the packaging task.

    ``outcome``: signature in Base64, for a signing task that is DONE. ``decision``: REJECTED if an approver rejected
    the task, APPROVED if it has all required approvals. ``download_url``: expiring link through which the result can be
    downloaded without a token. ``detailed_status``: the status, but REJECTED or WITHDRAWN for a CANCELLED task that an
    approver rejected or its requester withdrew.
    """

    device_config_id: str
    detailed_status: DetailedStatus
    packaging_task_id: str | UnsetType = UNSET
    encryption_task_id: str | UnsetType = UNSET
    signing_task_id: str | UnsetType = UNSET
    outcome: str | UnsetType = UNSET
    decision: Verdict | UnsetType = UNSET
    download_url: str | UnsetType = UNSET


class AuditEntryResponse(AuditEntry, frozen=True, kw_only=True):
    """An audit entry. For compatibility with the Sign & Encrypt API, its ``seq`` is repeated as ``id``."""

    id: str


class DecisionBody(SecretStruct, frozen=True, kw_only=True):
    """A decision on a task.

    ``digest``: the approval digest that the approver reviewed. ``origin``: whether the decision was made by a person at
    a terminal or by a machine client; if omitted, a decision with a one-time password counts as made by a person.
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
        """The reason to record. Rejections without a reason get a default one, because the engine requires a reason."""
        reason = self.reason.strip()
        return reason or (DEFAULT_REJECTION_REASON if self.decision is Verdict.REJECTED else "")


class ReasonBody(FrozenStruct, frozen=True, kw_only=True):
    reason: LongText


class TaskBody(FrozenStruct, frozen=True, kw_only=True):
    """The members that the bodies for all kinds of tasks have in common.

    ``justification``: why the task is needed, for its approvers. ``resubmission_of``: id of the rejected, cancelled or
    failed task that the new one replaces.
    """

    device_config_id: ShortText
    name: ShortText = ""
    content_type: ShortText = ""
    justification: LongText | UnsetType = UNSET
    resubmission_of: ShortText | UnsetType = UNSET


class PackageBody(TaskBody, frozen=True, kw_only=True):
    """A package to create from completed uploads. ``input_ids``: ids of the firmware uploads, in packaging order."""

    input_ids: tuple[ShortText, ...]
    metadata_ids: tuple[ShortText, ...] = ()


class EncryptionBody(TaskBody, frozen=True, kw_only=True):
    """A completed upload to encrypt.

    ``encryption_key``: name of an encryption key of the device configuration; by default, the first one.
    """

    input_id: ShortText
    encryption_key: ShortText | UnsetType = UNSET


class SigningBody(TaskBody, frozen=True, kw_only=True):
    """A message or digest to sign.

    ``input_base64``: the message or its SHA-256 digest, in Base64. ``is_digest``: whether the input is a digest; if
    omitted, it counts as one if the signing algorithm of the device configuration signs digests.
    """

    input_base64: str
    is_digest: bool | None = None
    file_name: ShortText = ""


class CheckedFileBody(FrozenStruct, frozen=True, kw_only=True):
    """A file that has not been uploaded. ``size`` is in bytes, ``sha256`` in hex."""

    name: ShortText
    size: Annotated[int, Meta(ge=0)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-fA-F]{64}$")]


class DirectUploadBody(FrozenStruct, frozen=True, kw_only=True):
    """A file to send to the object store. ``size`` is in bytes, ``sha256`` in hex: the expected digest, if known."""

    name: ShortText = ""
    size: Annotated[int, Meta(ge=0)]
    sha256: ShortText | None = None


class DigestBody(FrozenStruct, frozen=True, kw_only=True):
    """The SHA-256 of a file, or of a part of it, in hex."""

    sha256: ShortText


class PackageCheckBody(TaskBody, frozen=True, kw_only=True):
    """A package to check. ``inputs``: firmware files, in packaging order."""

    inputs: tuple[CheckedFileBody, ...]
    metadata: tuple[CheckedFileBody, ...] = ()


class EncryptionCheckBody(TaskBody, frozen=True, kw_only=True):
    """An encryption to check. ``encryption_key``: name of a key of the configuration; by default the first."""

    input: CheckedFileBody
    encryption_key: ShortText | UnsetType = UNSET


class KeyBody(SecretStruct, frozen=True, kw_only=True):
    """A key to import.

    ``content``: the key as PEM, PKCS#12 or raw AES bytes. In JSON, ``content`` and ``certificate`` are Base64-encoded.
    ``wrapping_key``: URI of a registered key in a token or key service that wraps the imported AES key.
    """

    REPR_FIELDS = ("uri",)

    uri: ShortText
    kind: KeyType
    content: bytes
    purpose: KeyPurpose = KeyPurpose.BOTH
    password: ShortText | None = None
    certificate: bytes | None = None
    wrapping_key: ShortText | None = None


class KeyRegistrationBody(SecretStruct, frozen=True, kw_only=True):
    """A key to register that its token or key service has already.

    ``kind``: its type; if omitted, any. ``certificate``: content of a file with its certificate, in JSON encoded in
    Base64; without it, the key keeps the certificate that the token stores, or gets a self-signed one.
    """

    REPR_FIELDS = ("uri",)

    uri: ShortText
    kind: KeyType | None = None
    purpose: KeyPurpose = KeyPurpose.BOTH
    certificate: bytes | None = None


class KeyGenerationBody(FrozenStruct, frozen=True, kw_only=True):
    """A key to generate in the token or key service that its URI names, or a local key.

    ``wrapping_key``: URI of a registered key in a token or key service that wraps a local AES key.
    """

    uri: ShortText
    kind: KeyType
    purpose: KeyPurpose = KeyPurpose.BOTH
    wrapping_key: ShortText | None = None


class CertificateBody(SecretStruct, frozen=True, kw_only=True):
    """A renewed certificate of a signing key.

    ``content``: PEM, DER or PKCS#7, in JSON encoded in Base64. Private keys in it are ignored.
    """

    REPR_FIELDS = ("uri",)

    uri: ShortText
    content: bytes


class CertificateRequestResponse(FrozenStruct, frozen=True, kw_only=True):
    """A certificate request for a key: PKCS#10 in PEM."""

    certificate_request: str


class KeyUriBody(FrozenStruct, frozen=True, kw_only=True):
    uri: ShortText


class KeyExportBody(FrozenStruct, frozen=True, kw_only=True):
    """A request to export a symmetric key of a device configuration.

    ``confirmed``: must be true. ``encryption_key``: name of the key; by default, the first one.
    """

    confirmed: bool = False
    encryption_key: ShortText | None = None


class ClockConfirmationBody(FrozenStruct, frozen=True, kw_only=True):
    """The confirmation that the system clock of the server is right."""

    confirmed: bool = False


class CheckpointBody(FrozenStruct, frozen=True, kw_only=True):
    checkpoint: LongText | None = None


class EnrollmentBody(SecretStruct, frozen=True, kw_only=True):
    current: ShortText | None = None


class PasswordBody(SecretStruct, frozen=True, kw_only=True):
    password: ShortText


def task_response(task: Task, base_url: str) -> TaskResponse:
    """Return the response body for a task. ``base_url``: base URL of the API, without a trailing slash."""
    result = task.result
    return TaskResponse(
        **{**msgspec.structs.asdict(task), f"{task.kind}_task_id": task.id},
        device_config_id=task.config_id,
        detailed_status=task.detailed_status,
        decision=_decision(task),
        outcome=result.signature if result is not None and result.signature is not None else UNSET,
        download_url=link_url(result.link, base_url) if result is not None and result.link is not None else UNSET,
    )


def subtask_response(parent: Task, subtask: Subtask, base_url: str) -> TaskResponse:
    """Return the response body for a step of the packaging task ``parent``, with the input and key of that step."""
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
        reminder_at=None,
        escalation_at=None,
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
    return AuditEntryResponse(**msgspec.structs.asdict(entry), id=str(entry.seq))


def link_url(link: str, base_url: str) -> str:
    """Return the API URL of a ``sealyard:<workspace>/<task>?…`` link."""
    return f"{base_url}{API}/link/{link.partition(':')[2]}"


def link_from_url(workspace_id: str, task_id: str, expires: str, signature: str) -> str:
    """Build a ``sealyard:…`` link from the parts of an API URL, without verifying the signature."""
    return f"sealyard:{workspace_id}/{task_id}?expires={expires}&signature={signature}"


def next_page_url(url: str, cursor: str) -> str:
    """Return ``url`` with its query parameter ``cursor`` set to ``cursor``."""
    parts = urlsplit(url)
    query = {**parse_qs(parts.query), "cursor": [cursor]}
    return parts._replace(query=urlencode(query, doseq=True)).geturl()
