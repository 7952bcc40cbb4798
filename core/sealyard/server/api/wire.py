"""Our values as the documented API writes them: the documented names beside ours, and back."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
from msgspec import UNSET, UnsetType

from sealyard.model.access import Action, SubjectKind, parse_subject
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.base import FrozenStruct, LongText, SecretStruct, ShortText
from sealyard.model.device_configs import (
    DEFAULT_FORMAT,
    DEFAULT_LINK_TTL,
    DEFAULT_RETENTION_SECONDS,
    DeviceConfig,
)
from sealyard.model.errors import UsageError
from sealyard.model.requests import DeviceRequest, DeviceUpdate
from sealyard.model.tasks import DecisionOrigin, Task, Verdict

API = "/api/v1"

UNSET_REASON = "none given"


class TaskResponse(Task, frozen=True, kw_only=True):
    """A task with the documented names: the id under its kind's name, ``deviceConfigId``, and what came of it.

    ``outcome``: of a signing task that is DONE, its signature in Base64. ``downloadUrl``: a link that needs no token,
    as long as it lives.
    """

    device_config_id: str
    packaging_task_id: str | UnsetType = UNSET
    encryption_task_id: str | UnsetType = UNSET
    signing_task_id: str | UnsetType = UNSET
    outcome: str | UnsetType = UNSET
    download_url: str | UnsetType = UNSET


class DeviceResponse(DeviceConfig, frozen=True, kw_only=True):
    """A device configuration with the documented ``configId``."""

    config_id: str


class SubjectReference(FrozenStruct, frozen=True, kw_only=True):
    """A subject as the documented API writes it: ``type`` GROUP or CLIENT (ours: USER too), and ``id``."""

    id: ShortText
    type: SubjectKind

    @property
    def subject(self) -> str:
        return parse_subject(f"{self.type}:{self.id}")


class SubjectResponse(FrozenStruct, frozen=True, kw_only=True):
    """Whom a caller counts as: itself, and each group it is inside of."""

    id: str
    type: SubjectKind
    subject: str


class KeyReference(FrozenStruct, frozen=True, kw_only=True):
    """A key of a device configuration. ``reference``: the URI of a key there is; without it one is made.

    To name one takes the right to UPDATE keys, or every configuration that uses it; who brought it in may as long as
    none does. ``name`` and ``description`` are for people.
    """

    name: ShortText = ""
    description: LongText = ""
    reference: ShortText | None = None


class EncryptionKeyReference(KeyReference, frozen=True, kw_only=True):
    algorithm: EncryptionAlgorithm


class SigningKeyReference(KeyReference, frozen=True, kw_only=True):
    algorithm: SigningAlgorithm


class DeviceBody(FrozenStruct, frozen=True, kw_only=True):
    """A new device configuration. ``acl``: subjects by action, USE and APPROVE, as objects or as ``KIND:name``.

    Of several keys a task always takes the first.
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
    """A new version; what is left out stays as it is."""

    approvals_required: int | None = None
    format: ShortText | None = None
    link_ttl_seconds: int | None = None
    retention_seconds: int | None = None
    description: LongText | None = None

    def request(self, config: str) -> DeviceUpdate:
        return DeviceUpdate(config=config, **msgspec.structs.asdict(self))


class DecisionBody(SecretStruct, frozen=True, kw_only=True):
    """``reason`` may be left out. ``digest``: the approval digest that was seen. ``origin``: who decides, and how."""

    REPR_FIELDS = ("decision",)

    decision: Verdict
    reason: LongText = ""
    digest: ShortText | None = None
    origin: DecisionOrigin = DecisionOrigin.MACHINE
    one_time_password: ShortText | None = None

    @property
    def reason_text(self) -> str:
        """The documented API lets a rejection come without a reason; that none was given is recorded."""
        reason = self.reason.strip()
        return reason or (UNSET_REASON if self.decision is Verdict.REJECTED else "")


class ReasonBody(FrozenStruct, frozen=True, kw_only=True):
    reason: LongText


class PackageBody(FrozenStruct, frozen=True, kw_only=True):
    """Of uploads that are complete: ``inputIds`` in the order they are packed."""

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
    """``inputBase64``: the message, or a finished SHA-256. ``isDigest``: left out, the algorithm says which."""

    device_config_id: ShortText
    input_base64: str
    name: ShortText = ""
    content_type: ShortText = ""
    is_digest: bool | None = None
    file_name: ShortText = ""


class RuleBody(FrozenStruct, frozen=True, kw_only=True):
    """``confirmed``: also where a configuration is left without a possible quorum."""

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
    """A key to import: ``content`` PEM, PKCS#12 or raw AES bytes, in Base64 as ``certificate``."""

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


class EnrolmentBody(SecretStruct, frozen=True, kw_only=True):
    current: ShortText | None = None


class PasswordBody(SecretStruct, frozen=True, kw_only=True):
    password: ShortText


class CertificateDocument(FrozenStruct, frozen=True, kw_only=True):
    name: str
    certificate: str


class AlgorithmDocument(FrozenStruct, frozen=True, kw_only=True):
    """``referenceNeeded``: whether a key of it must be named; where not, one can be made."""

    algorithm: str
    reference_needed: bool
    key_kinds: tuple[KeyType, ...]
    caveats: tuple[str, ...]


class AlgorithmsDocument(FrozenStruct, frozen=True, kw_only=True):
    encryption: tuple[AlgorithmDocument, ...]
    signing: tuple[AlgorithmDocument, ...]
    formats: tuple[str, ...]


def task_document(task: Task, base_url: str) -> TaskResponse:
    """``baseUrl``: where the API is reached, without a slash at the end."""
    result = task.result
    return TaskResponse(
        **{**_fields(task), f"{task.kind}_task_id": task.id},
        device_config_id=task.config_id,
        outcome=result.signature if result is not None and result.signature is not None else UNSET,
        download_url=link_url(result.link, base_url) if result is not None and result.link is not None else UNSET,
    )


def device_document(device: DeviceConfig) -> DeviceResponse:
    return DeviceResponse(**_fields(device), config_id=device.id)


def device_request(body: DeviceBody) -> DeviceRequest:
    """Raises :class:`UsageError` where no key is named, or an action that is no part of a configuration."""
    if not body.encryption_keys or not body.signing_keys:
        raise UsageError("A configuration needs an encryption key and a signing key.", "Name the algorithm of each.")
    odd = set(body.acl) - {Action.USE, Action.APPROVE}
    if odd:
        raise UsageError("Subjects are named for the actions USE and APPROVE.", "Add other rules by POST /api/v1/acl.")
    encryption, signing = body.encryption_keys[0], body.signing_keys[0]
    return DeviceRequest(
        name=body.name,
        encryption=encryption.algorithm,
        signing=signing.algorithm,
        use=_subjects(body.acl.get(Action.USE, ())),
        approve=_subjects(body.acl.get(Action.APPROVE, ())),
        approvals_required=body.approvals_required,
        format=body.format,
        link_ttl_seconds=body.link_ttl_seconds,
        retention_seconds=body.retention_seconds,
        purpose=body.purpose,
        description=body.description,
        encryption_key=encryption.reference or None,
        signing_key=signing.reference or None,
    )


def own_subject(subject: str) -> SubjectResponse:
    kind, _, name = subject.partition(":")
    return SubjectResponse(id=name, type=SubjectKind(kind), subject=subject)


def link_url(link: str, base_url: str) -> str:
    """``sealyard:<workspace>/<task>?…`` as a URL of the API."""
    return f"{base_url}{API}/link/{link.partition(':')[2]}"


def link_from_url(workspace_id: str, task_id: str, expires: str, signature: str) -> str:
    """The link that such a URL stands for; it is the engine that judges it."""
    return f"sealyard:{workspace_id}/{task_id}?expires={expires}&signature={signature}"


def next_page(url: str, cursor: str) -> str:
    """``url`` with another cursor."""
    split = urlsplit(url)
    query = {**parse_qs(split.query), "cursor": [cursor]}
    return split._replace(query=urlencode(query, doseq=True)).geturl()


def _subjects(named: tuple[SubjectReference | str, ...]) -> tuple[str, ...]:
    return tuple(parse_subject(each) if isinstance(each, str) else each.subject for each in named)


def _fields(value: FrozenStruct) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}
