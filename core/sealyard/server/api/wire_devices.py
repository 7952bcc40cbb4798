"""Request and response bodies of the device configuration endpoints, and their conversion to and from model types."""

from __future__ import annotations

import msgspec

from sealyard.model.access import ACCESS_LIST_ACTIONS, AccessList, Action
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.base import FrozenStruct, LongText, ShortText
from sealyard.model.device_configs import (
    DEFAULT_FORMAT,
    DEFAULT_LINK_TTL,
    DEFAULT_RETENTION_SECONDS,
    DeviceConfig,
    EncryptionKey,
    SigningKey,
)
from sealyard.model.errors import UsageError
from sealyard.model.requests import DeviceRequest, DeviceUpdate, EncryptionKeyRequest, SigningKeyRequest
from sealyard.server.api.wire_access import SubjectReference, SubjectResponse, subject_response, subjects_of


class KeyReference(FrozenStruct, frozen=True, kw_only=True):
    """A key for a new device configuration.

    ``reference``: URI of an existing key, or for a signing key ``x509:`` and the SHA-256 fingerprint (hex) of its
    certificate; if omitted, a new key is generated. To use an existing key, the caller needs
    permission to UPDATE keys, or to UPDATE every configuration that already uses the key, or must have imported the key
    if no configuration uses it yet. A key of a token or key service that the workspace does not have yet is registered,
    for which the caller needs permission to CREATE keys. ``name`` and ``description``: texts to show to users.
    """

    name: ShortText = ""
    description: LongText = ""
    reference: ShortText | None = None


class EncryptionKeyReference(KeyReference, frozen=True, kw_only=True):
    """An encryption key. ``wrapping_key``: URI of the key in a token or key service that wraps the generated key."""

    algorithm: EncryptionAlgorithm
    wrapping_key: ShortText | None = None


class SigningKeyReference(KeyReference, frozen=True, kw_only=True):
    """A signing key. ``provider``: the section of the worker settings in whose token or service it is generated."""

    algorithm: SigningAlgorithm
    provider: ShortText | None = None


class DeviceBody(FrozenStruct, frozen=True, kw_only=True):
    """A new device configuration.

    ``encryption_keys``, ``signing_keys``: tasks use the first key of each list, but an encryption task may name another
    encryption key. ``acl``: subjects by action (VIEW, USE, APPROVE), as objects or ``KIND:name`` strings.
    ``purpose``: what generated signing keys may sign; by default both packages and data, or only data if the algorithm
    signs digests, because signing tasks then need a key for data.
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
    purpose: KeyPurpose | None = None


class DeviceUpdateBody(FrozenStruct, frozen=True, kw_only=True):
    """A new version of a device configuration. Omitted members keep their values."""

    approvals_required: int | None = None
    format: ShortText | None = None
    link_ttl_seconds: int | None = None
    retention_seconds: int | None = None
    description: LongText | None = None

    def request(self, config: str) -> DeviceUpdate:
        return DeviceUpdate(config=config, **msgspec.structs.asdict(self))


class EncryptionKeyResponse(EncryptionKey, frozen=True, kw_only=True):
    """An encryption key of a device configuration. ``reference``: URI by which other configurations refer to it."""

    reference: str


class SigningKeyResponse(SigningKey, frozen=True, kw_only=True):
    """A signing key of a device configuration. ``reference``: URI by which other configurations refer to it."""

    reference: str


class DeviceResponse(DeviceConfig, frozen=True, kw_only=True):
    """A device configuration. For compatibility with the Sign & Encrypt API, its id is repeated as ``configId``.

    ``acl``: for each of the actions VIEW, USE and APPROVE, the subjects with a rule for this action on this or on all
    configurations. Rules for other actions also allow VIEW, but do not add their subjects to the list for VIEW.
    """

    encryption_keys: tuple[EncryptionKeyResponse, ...]
    signing_keys: tuple[SigningKeyResponse, ...]
    config_id: str
    acl: dict[str, tuple[SubjectResponse, ...]]


class AlgorithmResponse(FrozenStruct, frozen=True, kw_only=True):
    """An algorithm that device configurations can use.

    ``reference_needed``: whether a configuration must name an existing key; otherwise one can be generated.
    ``reference_supported``: whether it can name one. ``reference_description``: what to send as the reference.
    """

    algorithm: str
    reference_needed: bool
    reference_supported: bool
    reference_description: str
    key_kinds: tuple[KeyType, ...]
    caveats: tuple[str, ...]


class AlgorithmsResponse(FrozenStruct, frozen=True, kw_only=True):
    encryption: tuple[AlgorithmResponse, ...]
    signing: tuple[AlgorithmResponse, ...]
    formats: tuple[str, ...]


def device_request(body: DeviceBody) -> DeviceRequest:
    """Convert the request body for a new device configuration to a request to the engine.

    Raises :class:`UsageError` if ``acl`` contains actions other than VIEW, USE and APPROVE.
    """
    if set(body.acl) - set(ACCESS_LIST_ACTIONS):
        raise UsageError("Invalid action in acl: use VIEW, USE and APPROVE.", "Add other rules with POST /api/v1/acl.")
    return DeviceRequest(
        name=body.name,
        encryption_keys=tuple(
            EncryptionKeyRequest(
                algorithm=key.algorithm,
                uri=key.reference or None,
                wrapping_key=key.wrapping_key or None,
                name=key.name,
                description=key.description,
            )
            for key in body.encryption_keys
        ),
        signing_keys=tuple(
            SigningKeyRequest(
                algorithm=key.algorithm,
                uri=key.reference or None,
                provider=key.provider or None,
                name=key.name,
                description=key.description,
            )
            for key in body.signing_keys
        ),
        view=subjects_of(body.acl.get(Action.VIEW, ())),
        use=subjects_of(body.acl.get(Action.USE, ())),
        approve=subjects_of(body.acl.get(Action.APPROVE, ())),
        approvals_required=body.approvals_required,
        format=body.format,
        link_ttl_seconds=body.link_ttl_seconds,
        retention_seconds=body.retention_seconds,
        purpose=body.purpose,
        description=body.description,
    )


def device_response(device: DeviceConfig, access: AccessList) -> DeviceResponse:
    """Return the response body for a configuration. ``access``: the subjects that may perform each action on it."""
    fields = {
        **msgspec.structs.asdict(device),
        "encryption_keys": tuple(
            EncryptionKeyResponse(**msgspec.structs.asdict(key), reference=key.uri) for key in device.encryption_keys
        ),
        "signing_keys": tuple(
            SigningKeyResponse(**msgspec.structs.asdict(key), reference=key.uri) for key in device.signing_keys
        ),
    }
    acl = {str(action): tuple(map(subject_response, subjects)) for action, subjects in access.items()}
    return DeviceResponse(**fields, config_id=device.id, acl=acl)
