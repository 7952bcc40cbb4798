"""Keys of device configurations: generation, permission to reuse existing keys, current versions, and warnings."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from sealyard.containers.registry import get_format
from sealyard.crypto.algorithms import CIPHERS, SIGNATURES
from sealyard.crypto.key_purposes import default_purpose
from sealyard.engine.devices.keys import KeyRegistry
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import DEVICES
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import Action, ResourceType, device_resource, resource_type_uri
from sealyard.model.algorithms import KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.device_configs import DeviceConfig, EncryptionKey, SigningKey
from sealyard.model.errors import InvalidKeyError, PermissionDeniedError, UsageError
from sealyard.model.keys import KeyInfo
from sealyard.model.requests import DeviceRequest, EncryptionKeyRequest, SigningKeyRequest

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


class ConfigKeys:
    """Chooses the keys of new device configurations and of their next versions."""

    def __init__(self, repository: Repository, permissions: Permissions, keys: KeyRegistry) -> None:
        self._repository = repository
        self._permissions = permissions
        self._keys = keys

    def configs_using_key(self, uri: str) -> tuple[DeviceConfig, ...]:
        """Return the configurations whose newest version uses the key."""
        return tuple(device for device in self._repository.list_all(DEVICES) if uri in device.key_uris)

    def resolve_references(self, subject: str, request: DeviceRequest) -> DeviceRequest:
        """Return the request with the URIs of the keys to whose certificates it refers.

        Raises :class:`NotFoundError` if no key that ``subject`` may see has such a certificate.
        """
        signing_keys = tuple(
            key if key.uri is None else msgspec.structs.replace(key, uri=self._keys.resolve(subject, key.uri))
            for key in request.signing_keys
        )
        return msgspec.structs.replace(request, signing_keys=signing_keys)

    def require_access(self, subject: str, request: DeviceRequest) -> None:
        """Raise :class:`PermissionDeniedError` if ``subject`` may not reuse an existing key that the request names.

        The creator of a configuration chooses its users and approvers, and so controls what its keys sign. Without this
        check, a subject without permissions for a product could create a configuration with the product's keys, and
        sign for that product. Must be called before keys are generated.
        """
        uris = (*(key.uri for key in request.encryption_keys), *(key.uri for key in request.signing_keys))
        for uri in uris:
            if uri is not None and not self._may_use(subject, key := self._keys.get_visible(subject, uri)):
                raise PermissionDeniedError(
                    f"{subject} does not have permission to use {key.uri} in a new configuration.",
                    "Ask for UPDATE permission on keys or on all configurations with this key, or generate a new key.",
                )

    async def resolve_encryption_keys(
        self, unit_of_work: UnitOfWork, subject: str, request: DeviceRequest
    ) -> tuple[EncryptionKey, ...]:
        """Return the encryption keys of a new configuration. Keys that it does not name are generated.

        Raises :class:`InvalidKeyError` if an existing key does not fit its algorithm.
        """
        purpose = request.purpose or KeyPurpose.BOTH
        keys = []
        for key_request in request.encryption_keys:
            kind = CIPHERS[key_request.algorithm].key_kind
            name = f"{request.name}-encryption"
            key = await self._resolve(unit_of_work, subject, key_request, name, (kind,), purpose)
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

    async def resolve_signing_keys(
        self, unit_of_work: UnitOfWork, subject: str, request: DeviceRequest
    ) -> tuple[SigningKey, ...]:
        """Return the signing keys of a new configuration; see :meth:`resolve_encryption_keys`."""
        keys = []
        for key_request in request.signing_keys:
            kinds = SIGNATURES[key_request.algorithm].key_kinds
            purpose = request.purpose or default_purpose(key_request.algorithm)
            if purpose is not KeyPurpose.DATA:
                get_format(request.format).check_signing_algorithm(key_request.algorithm)
            name = f"{request.name}-signing"
            key = await self._resolve(unit_of_work, subject, key_request, name, kinds, purpose)
            keys.append(
                SigningKey(
                    algorithm=key_request.algorithm,
                    uri=key.uri,
                    version=key.current.version,
                    name=key_request.name,
                    description=key_request.description,
                )
            )
        return tuple(keys)

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

    async def _resolve(
        self,
        unit_of_work: UnitOfWork,
        subject: str,
        request: EncryptionKeyRequest | SigningKeyRequest,
        name: str,
        kinds: tuple[KeyType, ...],
        purpose: KeyPurpose,
    ) -> KeyInfo:
        """Return the key that the request names, or a new key ``local:<name>`` of the first of ``kinds``."""
        if request.uri is None:
            return await self._keys.generate(unit_of_work, name, kinds[0], purpose, subject)
        key = self._keys.get(request.uri)
        if key.kind not in kinds:
            raise InvalidKeyError(
                f"{request.algorithm} requires a key of type {' or '.join(kinds)}; {key.uri} is {key.kind}."
            )
        if isinstance(request, SigningKeyRequest):
            _check_capabilities(key, request.algorithm)
        return key

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


def _check_capabilities(key: KeyInfo, algorithm: SigningAlgorithm) -> None:
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
