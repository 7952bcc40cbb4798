"""Keys of device configurations: generation, permission to reuse existing keys, current versions, and warnings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from sealyard.containers.registry import get_format
from sealyard.crypto.algorithms import CIPHERS, SIGNATURES
from sealyard.crypto.key_purposes import default_purpose
from sealyard.engine.devices.external_keys import ExternalKeys
from sealyard.engine.devices.keys import KeyRegistry, require_wrapping_key
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import DEVICES, KEYS
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import Action, ResourceType, device_resource, resource_type_uri
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.backend_keys import DescribedKey
from sealyard.model.device_configs import DeviceConfig, EncryptionKey, SigningKey
from sealyard.model.errors import InvalidKeyError, PermissionDeniedError, UsageError
from sealyard.model.key_uris import LOCAL_SCHEME, parse_key_uri
from sealyard.model.keys import KeyInfo
from sealyard.model.requests import DeviceRequest, SigningKeyRequest

MAX_KEYS = 20
"""Maximum number of encryption keys, and of signing keys, of a configuration."""

MAX_KEY_NAME_LENGTH = 200

DUAL_USE_WARNING = (
    "This signing key is used for both packages and signing tasks. Use separate keys so a signature can never be"
    " mistaken for a package signature."
)
DATA_ONLY_WARNING = "The signing key is for data only: signing tasks can use it, but packages are rejected."
PACKAGE_ONLY_WARNING = (
    "Signing tasks with this algorithm require a key for data only, which this signing key is not: they are rejected."
)


class CheckedKeys(NamedTuple):
    """The keys of a request for a configuration, which fit their algorithms, and may be used by the subject.

    ``request``: with the canonical URIs of its keys. ``unregistered``: by URI, the keys to register, and their purpose.
    ``prefixes``: by section of the worker settings, the prefix of the URIs of the keys to generate.
    """

    request: DeviceRequest
    unregistered: Mapping[str, tuple[DescribedKey, KeyPurpose]]
    prefixes: Mapping[str, str]


class ConfigKeys:
    """Chooses the keys of new device configurations and of their next versions."""

    def __init__(
        self, repository: Repository, permissions: Permissions, keys: KeyRegistry, external_keys: ExternalKeys
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._keys = keys
        self._external_keys = external_keys

    def configs_using_key(self, uri: str) -> tuple[DeviceConfig, ...]:
        """Return the configurations whose newest version uses the key."""
        return tuple(device for device in self._repository.list_all(DEVICES) if uri in device.key_uris)

    async def check(self, subject: str, request: DeviceRequest) -> CheckedKeys:
        """Check the keys of a new configuration, before any of them is registered or generated.

        The creator of a configuration chooses its users and approvers, and so controls what its keys sign. Without a
        check of the permissions, a subject without permissions for a product could create a configuration with the
        product's keys, and sign for that product.

        Raises :class:`PermissionDeniedError` if ``subject`` may not reuse, register or generate a key,
        :class:`NotFoundError` if there is no such key or provider, :class:`InvalidKeyError` if a key does not fit its
        algorithm, and the error of a key provider that does not work.
        """
        unregistered: dict[str, tuple[DescribedKey, KeyPurpose]] = {}
        encryption_keys, signing_keys = [], []
        for encryption_key in request.encryption_keys:
            purpose = _encryption_purpose(request)
            uri = await self._resolve_uri(subject, encryption_key.uri, purpose, unregistered)
            wrapping_key = await self._resolve_uri(subject, encryption_key.wrapping_key, purpose, unregistered)
            self._check_encryption_key(subject, encryption_key.algorithm, uri, unregistered)
            self._check_wrapping_key(subject, wrapping_key, unregistered)
            encryption_keys.append(msgspec.structs.replace(encryption_key, uri=uri, wrapping_key=wrapping_key))
        for signing_key in request.signing_keys:
            purpose = _signing_purpose(request, signing_key)
            if purpose is not KeyPurpose.DATA:
                get_format(request.format).check_signing_algorithm(signing_key.algorithm)
            uri = await self._resolve_uri(subject, signing_key.uri, purpose, unregistered)
            self._check_signing_key(subject, signing_key.algorithm, uri, unregistered)
            signing_keys.append(msgspec.structs.replace(signing_key, uri=uri))
        sections = dict.fromkeys(key.provider for key in signing_keys if key.provider is not None)
        prefixes = {section: await self._external_keys.find_key_prefix(subject, section) for section in sections}
        request = msgspec.structs.replace(
            request, encryption_keys=tuple(encryption_keys), signing_keys=tuple(signing_keys)
        )
        return CheckedKeys(request, unregistered, prefixes)

    async def resolve(
        self, unit_of_work: UnitOfWork, subject: str, keys: CheckedKeys
    ) -> tuple[tuple[EncryptionKey, ...], tuple[SigningKey, ...]]:
        """Return the keys of a new configuration. Registers the unregistered keys, then generates the missing ones.

        Keys in a token or key service are generated last, because a failure would leave them there.
        """
        for described_key, purpose in keys.unregistered.values():
            await self._external_keys.add_registered(unit_of_work, subject, described_key, purpose)
        encryption_keys = await self._resolve_encryption_keys(unit_of_work, subject, keys.request)
        return encryption_keys, await self._resolve_signing_keys(unit_of_work, subject, keys)

    def with_current_versions(self, unit_of_work: UnitOfWork, device: DeviceConfig) -> DeviceConfig:
        """Return the configuration with the current version of each of its keys."""
        return msgspec.structs.replace(
            device,
            encryption_keys=tuple(
                msgspec.structs.replace(key, version=self._get_current_version(unit_of_work, key.uri))
                for key in device.encryption_keys
            ),
            signing_keys=tuple(
                msgspec.structs.replace(key, version=self._get_current_version(unit_of_work, key.uri))
                for key in device.signing_keys
            ),
        )

    def with_warnings(self, unit_of_work: UnitOfWork, device: DeviceConfig) -> DeviceConfig:
        """Return the configuration with the warnings that users see about its algorithms and keys."""
        purpose = self._keys.get_uncommitted(unit_of_work, device.signing.uri).purpose
        warnings = build_warnings(device.encryption_keys, device.signing_keys, purpose)
        return msgspec.structs.replace(device, warnings=warnings)

    async def _resolve_uri(
        self,
        subject: str,
        reference: str | None,
        purpose: KeyPurpose,
        unregistered: dict[str, tuple[DescribedKey, KeyPurpose]],
    ) -> str | None:
        """Return the canonical URI of the key to which ``reference`` refers.

        Adds the key to ``unregistered`` if its token or key service has it, but the workspace does not.
        """
        if reference is None:
            return None
        uri = parse_key_uri(self._keys.resolve(subject, reference))
        is_known = uri.scheme == LOCAL_SCHEME or self._repository.get(KEYS, str(uri)) is not None
        if is_known or not self._permissions.is_allowed(subject, Action.CREATE, resource_type_uri(ResourceType.KEY)):
            return str(uri)
        key = await self._external_keys.describe(subject, uri)
        if self._repository.get(KEYS, key.uri) is None:
            unregistered.setdefault(key.uri, (key, purpose))
        return key.uri

    def _check_encryption_key(
        self, subject: str, algorithm: EncryptionAlgorithm, uri: str | None, unregistered: Mapping[str, Any]
    ) -> None:
        if uri is None:
            return
        if uri not in unregistered:
            self._require_access(subject, uri)
        if parse_key_uri(uri).scheme != LOCAL_SCHEME:
            raise InvalidKeyError(
                f"{uri} cannot encrypt firmware, which is too large to be sent to a token or key service.",
                "Use a local key that is wrapped with this key.",
            )
        _check_kind(algorithm, self._keys.get(uri), (CIPHERS[algorithm].key_kind,))

    def _check_signing_key(
        self,
        subject: str,
        algorithm: SigningAlgorithm,
        uri: str | None,
        unregistered: Mapping[str, tuple[DescribedKey, KeyPurpose]],
    ) -> None:
        if uri is None:
            return
        if uri not in unregistered:
            self._require_access(subject, uri)
        key = unregistered[uri][0] if uri in unregistered else self._keys.get(uri)
        _check_kind(algorithm, key, SIGNATURES[algorithm].key_kinds)
        _check_capabilities(key, algorithm)

    def _check_wrapping_key(
        self, subject: str, uri: str | None, unregistered: Mapping[str, tuple[DescribedKey, KeyPurpose]]
    ) -> None:
        """Check a wrapping key. Seeing it suffices to use it, because it gives no access to keys that it wraps."""
        if uri is not None:
            key = unregistered[uri][0] if uri in unregistered else self._keys.get_visible(subject, uri)
            require_wrapping_key(key.uri, key.capabilities)

    async def _resolve_encryption_keys(
        self, unit_of_work: UnitOfWork, subject: str, request: DeviceRequest
    ) -> tuple[EncryptionKey, ...]:
        keys = []
        for key_request in request.encryption_keys:
            if key_request.uri is not None:
                key = self._keys.get_uncommitted(unit_of_work, key_request.uri)
            else:
                key = await self._keys.generate_unnamed(
                    unit_of_work,
                    f"{request.name}-encryption",
                    CIPHERS[key_request.algorithm].key_kind,
                    _encryption_purpose(request),
                    subject,
                    wrapping_key=key_request.wrapping_key,
                )
            keys.append(
                EncryptionKey(
                    algorithm=key_request.algorithm,
                    uri=key.uri,
                    version=key.current.version,
                    name=key_request.name,
                    description=key_request.description,
                )
            )
        return tuple(keys)

    async def _resolve_signing_keys(
        self, unit_of_work: UnitOfWork, subject: str, keys: CheckedKeys
    ) -> tuple[SigningKey, ...]:
        resolved_keys: dict[int, KeyInfo] = {}
        requests = keys.request.signing_keys
        for index, key_request in sorted(enumerate(requests), key=lambda item: item[1].provider is not None):
            if key_request.uri is not None:
                resolved_keys[index] = self._keys.get_uncommitted(unit_of_work, key_request.uri)
            else:
                resolved_keys[index] = await self._generate_signing_key(unit_of_work, subject, keys, key_request)
        return tuple(
            SigningKey(
                algorithm=key_request.algorithm,
                uri=resolved_keys[index].uri,
                version=resolved_keys[index].current.version,
                name=key_request.name,
                description=key_request.description,
            )
            for index, key_request in enumerate(requests)
        )

    async def _generate_signing_key(
        self, unit_of_work: UnitOfWork, subject: str, keys: CheckedKeys, key_request: SigningKeyRequest
    ) -> KeyInfo:
        """Generate a key of the first type for the algorithm."""
        key = await self._keys.generate_unnamed(
            unit_of_work,
            f"{keys.request.name}-signing",
            SIGNATURES[key_request.algorithm].key_kinds[0],
            _signing_purpose(keys.request, key_request),
            subject,
            prefix=f"{LOCAL_SCHEME}:" if key_request.provider is None else keys.prefixes[key_request.provider],
        )
        _check_capabilities(key, key_request.algorithm)
        return key

    def _require_access(self, subject: str, uri: str) -> None:
        if not self._may_use(subject, key := self._keys.get_visible(subject, uri)):
            raise PermissionDeniedError(
                f"{subject} does not have permission to use {key.uri} in a new configuration.",
                "Ask for UPDATE permission on keys or on all configurations with this key, or generate a new key.",
            )

    def _may_use(self, subject: str, key: KeyInfo) -> bool:
        if self._permissions.is_allowed(subject, Action.UPDATE, resource_type_uri(ResourceType.KEY)):
            return True
        devices = self.configs_using_key(key.uri)
        if not devices:
            return key.created_by == subject
        return all(
            self._permissions.is_allowed(subject, Action.UPDATE, device_resource(device.id)) for device in devices
        )

    def _get_current_version(self, unit_of_work: UnitOfWork, uri: str) -> int:
        return self._keys.get_uncommitted(unit_of_work, uri).current.version


def validate_key_requests(request: DeviceRequest) -> None:
    """Raise :class:`UsageError` if the request has no encryption or signing key, too many keys, or too long names."""
    for key_requests in (request.encryption_keys, request.signing_keys):
        if not key_requests:
            raise UsageError(
                "Missing key: a device configuration needs an encryption key and a signing key.",
                "Set the algorithm of each key.",
            )
        if len(key_requests) > MAX_KEYS:
            raise UsageError(
                f"A configuration can have at most {MAX_KEYS} encryption keys and {MAX_KEYS} signing keys."
            )
        if any(len(key_request.name) > MAX_KEY_NAME_LENGTH for key_request in key_requests):
            raise UsageError(f"The name of a key can have at most {MAX_KEY_NAME_LENGTH} characters.")
    if any(key.uri is not None and key.wrapping_key is not None for key in request.encryption_keys):
        raise UsageError("Only a new encryption key can be wrapped.", "Name an existing key or a wrapping key.")
    if any(key.uri is not None and key.provider is not None for key in request.signing_keys):
        raise UsageError("Only a new signing key can be generated.", "Name an existing key or a key provider.")


def build_warnings(
    encryption_keys: tuple[EncryptionKey, ...], signing_keys: tuple[SigningKey, ...], purpose: KeyPurpose
) -> tuple[str, ...]:
    """Return the caveats of the keys' algorithms, and of ``purpose``, that of the first signing key."""
    warnings = (
        *(caveat for key in encryption_keys for caveat in CIPHERS[key.algorithm].caveats),
        *(caveat for key in signing_keys for caveat in SIGNATURES[key.algorithm].caveats),
        *_purpose_warnings(signing_keys[0].algorithm, purpose),
    )
    return tuple(dict.fromkeys(warnings))


def _encryption_purpose(request: DeviceRequest) -> KeyPurpose:
    return request.purpose or KeyPurpose.BOTH


def _signing_purpose(request: DeviceRequest, key_request: SigningKeyRequest) -> KeyPurpose:
    return request.purpose or default_purpose(key_request.algorithm)


def _check_kind(
    algorithm: EncryptionAlgorithm | SigningAlgorithm, key: KeyInfo | DescribedKey, kinds: tuple[KeyType, ...]
) -> None:
    """Raise :class:`InvalidKeyError` if the type of ``key`` is none of ``kinds``, those of the algorithm."""
    if key.kind not in kinds:
        raise InvalidKeyError(f"{algorithm} requires a key of type {' or '.join(kinds)}; {key.uri} is {key.kind}.")


def _check_capabilities(key: KeyInfo | DescribedKey, algorithm: SigningAlgorithm) -> None:
    """Raise :class:`InvalidKeyError` if the provider of ``key`` has reported that it does not offer ``algorithm``."""
    if key.capabilities is not UNSET and algorithm not in key.capabilities.algorithms:
        raise InvalidKeyError(
            f"The provider of {key.uri} does not sign with {algorithm}.",
            f"Use one of: {', '.join(key.capabilities.algorithms)}.",
        )


def _purpose_warnings(algorithm: SigningAlgorithm, purpose: KeyPurpose) -> tuple[str, ...]:
    """Return the warnings about the purpose of the signing key that tasks use."""
    if purpose is KeyPurpose.DATA:
        return (DATA_ONLY_WARNING,)
    if default_purpose(algorithm) is KeyPurpose.DATA:
        return (PACKAGE_ONLY_WARNING,)
    return (DUAL_USE_WARNING,) if purpose is KeyPurpose.BOTH else ()
