"""Public data of the workspace's keys.

The engine has no access to private and symmetric keys: it asks a worker to generate, import, rotate and export keys
and to import certificates, and stores only their public data.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import DEVICES, KEY_FAILURES, KEYS
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.jobs.bus import JobBus
from sealyard.model.access import Action, ResourceType, device_resource, resource_type_uri
from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.audit import AuditAction
from sealyard.model.certificate_validity import certificate_warnings
from sealyard.model.device_configs import DeviceConfig, EncryptionKey
from sealyard.model.errors import (
    AlreadyExistsError,
    ConfirmationRequiredError,
    ConflictError,
    InvalidKeyError,
    NotFoundError,
    WorkerError,
)
from sealyard.model.hints import Hint, HintCode
from sealyard.model.key_checks import KeyCheck
from sealyard.model.key_commands import (
    CreateCertificateRequest,
    ExportKey,
    GenerateKey,
    ImportCertificate,
    ImportKey,
    RotateKey,
)
from sealyard.model.key_uris import LOCAL_SCHEME, parse_certificate_reference, parse_key_uri
from sealyard.model.keys import KeyCapabilities, KeyInfo, KeyVersion
from sealyard.model.requests import CertificateContent, ExportedKey, KeyContent, KeyGeneration

MAX_COMMON_NAME_LENGTH = 64
"""Maximum length of the common name in the self-signed certificate of a new key (RFC 5280)."""

NAME_NUMBER_LIMIT = 100
"""Exclusive upper limit of the number that is appended to the name of a generated key."""


class KeyRegistry:
    """Lists, generates, imports, rotates and exports keys. Does not sign or encrypt."""

    def __init__(self, repository: Repository, permissions: Permissions, bus: JobBus) -> None:
        self._repository = repository
        self._permissions = permissions
        self._bus = bus

    def list_keys(self, subject: str) -> tuple[KeyInfo, ...]:
        self._permissions.require_type(subject, Action.VIEW, ResourceType.KEY)
        return tuple(sorted(self._repository.list_all(KEYS), key=lambda key: key.uri))

    def get(self, uri: str) -> KeyInfo:
        """Return the key with this URI. Raises :class:`NotFoundError` if there is none."""
        key = self._repository.get(KEYS, str(parse_key_uri(uri)))
        if key is None:
            raise _key_not_found(uri)
        return key

    def get_visible(self, subject: str, uri: str) -> KeyInfo:
        """Like :meth:`get`, but also raises :class:`NotFoundError` if ``subject`` may not see the key."""
        key = self.get(uri)
        if not self._may_see(subject, key.uri):
            raise _key_not_found(uri, hidden=True)
        return key

    def resolve(self, subject: str, reference: str) -> str:
        """Return the URI of the key to which ``reference`` refers: itself, or that of the key of a certificate.

        Raises :class:`NotFoundError` if it refers to a certificate, and no key that ``subject`` may see has it now.
        """
        fingerprint = parse_certificate_reference(reference)
        if fingerprint is None:
            return reference
        keys = [key for key in self._repository.list_all(KEYS) if _has_certificate(key.current, fingerprint)]
        key = next((key for key in keys if self._may_see(subject, key.uri)), None)
        if key is None:
            raise NotFoundError(
                "No key has the certificate with this fingerprint.",
                "Import the certificate for its key first, or name the key by its URI.",
                hidden=bool(keys),
            )
        return key.uri

    def get_uncommitted(self, unit_of_work: UnitOfWork, uri: str) -> KeyInfo:
        """Return the key as it will be once ``unit_of_work`` is committed."""
        return find_pending(unit_of_work, uri) or self.get(uri)

    def failures(self, subject: str) -> tuple[KeyCheck, ...]:
        """Return the failed checks of active keys that the subject may see, the longest failure first."""
        visible_failures = [
            failure for failure in self._repository.list_all(KEY_FAILURES) if self._may_see(subject, failure.uri)
        ]
        return tuple(sorted(visible_failures, key=lambda failure: (str(failure.since), failure.id)))

    def warnings(self, subject: str, now: datetime) -> tuple[str, ...]:
        """Return a warning for each current certificate of a visible key that is not valid for 30 days from ``now``."""
        return tuple(
            warning
            for key in self._repository.list_all(KEYS)
            if (warnings := certificate_warnings(key, key.current, now)) and self._may_see(subject, key.uri)
            for warning in warnings
        )

    def may_see_all(self, subject: str) -> bool:
        return self._permissions.is_allowed(subject, Action.VIEW, resource_type_uri(ResourceType.KEY))

    def _may_see(self, subject: str, uri: str) -> bool:
        """Return whether ``subject`` may view all keys, or a device configuration that uses the key ``uri``."""
        return self.may_see_all(subject) or any(
            uri in device.key_uris and self._permissions.is_allowed(subject, Action.VIEW, device_resource(device.id))
            for device in self._repository.list_all(DEVICES)
        )

    async def generate_unnamed(
        self,
        unit_of_work: UnitOfWork,
        name: str,
        kind: KeyType,
        purpose: KeyPurpose,
        subject: str,
        *,
        prefix: str = f"{LOCAL_SCHEME}:",
        wrapping_key: str | None = None,
    ) -> KeyInfo:
        """Have a worker generate a key, add its public data to ``unit_of_work``, and return them.

        The URI of the key is ``prefix`` and ``name``. If it is in use, also by another key of ``unit_of_work``, appends
        a number. A name is also in use if a worker has a key of this name that the workspace does not know, for example
        because an earlier unit of work was not committed. ``wrapping_key``: URI of the key that wraps the new one.
        Raises :class:`AlreadyExistsError` if no name is free.
        """
        for number in range(1, NAME_NUMBER_LIMIT):
            uri = f"{prefix}{name}" if number == 1 else f"{prefix}{name}-{number}"
            if self._repository.get(KEYS, uri) is not None or find_pending(unit_of_work, uri) is not None:
                continue
            request = GenerateKey(
                uri=uri,
                kind=kind,
                purpose=purpose,
                subject=name[:MAX_COMMON_NAME_LENGTH],
                created_by=subject,
                wrapping_key=wrapping_key or "",
            )
            try:
                response = await self._bus.request(request)
            except AlreadyExistsError:
                continue
            return self.add_record(unit_of_work, response.key, subject)
        raise AlreadyExistsError(f"All key names like {name} are in use.", "Choose another name.")

    async def generate(self, subject: str, request: KeyGeneration) -> KeyInfo:
        """Have a worker generate a key with the given URI, and save and return the key's public data.

        A key in a token or key service is saved under its canonical URI. Raises :class:`AlreadyExistsError` if the URI
        is in use.
        """
        self._permissions.require_type(subject, Action.CREATE, ResourceType.KEY)
        uri = parse_key_uri(request.uri)
        self.require_unused_uri(str(uri))
        command = GenerateKey(
            uri=str(uri),
            kind=request.kind,
            purpose=request.purpose,
            subject=uri.name[:MAX_COMMON_NAME_LENGTH],
            created_by=subject,
            wrapping_key=self._find_wrapping_key(subject, request.kind, request.wrapping_key),
        )
        response = await self._bus.request(command)
        unit_of_work = self._repository.begin()
        key = self.add_record(unit_of_work, response.key, subject)
        await unit_of_work.commit()
        return key

    async def import_key(self, subject: str, request: KeyContent) -> KeyInfo:
        """Have a worker import a key, and save and return the key's public data.

        Raises :class:`AlreadyExistsError` if the key URI is in use.
        """
        self._permissions.require_type(subject, Action.CREATE, ResourceType.KEY)
        uri = str(parse_key_uri(request.uri))
        self.require_unused_uri(uri)
        command = ImportKey(
            uri=uri,
            content=request.content,
            kind=request.kind,
            purpose=request.purpose,
            created_by=subject,
            password=request.password,
            certificate=request.certificate,
            wrapping_key=self._find_wrapping_key(subject, request.kind, request.wrapping_key),
        )
        response = await self._bus.request(command)
        unit_of_work = self._repository.begin()
        key = self.add_record(unit_of_work, response.key, subject)
        await unit_of_work.commit()
        return key

    async def rotate(self, unit_of_work: UnitOfWork, subject: str, uri: str) -> KeyInfo:
        """Have a worker create the next version of a key, add it to ``unit_of_work``, and return the key."""
        self._permissions.require_type(subject, Action.UPDATE, ResourceType.KEY)
        response = await self._bus.request(RotateKey(uri=self.get(uri).uri))
        if response.version is None:
            raise WorkerError("The crypto worker did not return a key version.")
        message = f"rotated to version {response.version.version}"
        new_value = {"fingerprint": response.version.fingerprint}
        # Read the key only now: another rotation may have completed while this one waited for the worker.
        key = self.get(uri)
        old_value = {"fingerprint": key.current.fingerprint}
        return self._add_version(unit_of_work, subject, key, response.version, message, new_value, old_value)

    async def import_certificate(self, unit_of_work: UnitOfWork, subject: str, request: CertificateContent) -> KeyInfo:
        """Have a worker create the next version of a signing key: the same private key with a renewed certificate.

        Adds the version to ``unit_of_work`` and returns the key. Earlier versions keep their certificates. Raises
        :class:`InvalidKeyError` if ``request`` contains no chain for the current version's private key that is
        accepted, and :class:`ConflictError` if the current version has this chain, or another version was created
        meanwhile.
        """
        self._permissions.require_type(subject, Action.UPDATE, ResourceType.KEY)
        key = self.get(request.uri)
        command = ImportCertificate(uri=key.uri, version=key.current.version, content=request.content)
        version = (await self._bus.request(command)).version
        if version is None or version.certificate is None or key.current.certificate is None:
            raise WorkerError("The crypto worker did not return a key version with a certificate.")
        if version.version == key.current.version:
            raise ConflictError(f"{key.uri} already has this certificate.", "Use the renewed certificate.")
        if self.get(key.uri).current != key.current:
            raise ConflictError(f"{key.uri} was changed in the meantime.", "Check its current version, then try again.")
        message = f"certificate renewed in version {version.version}"
        new_value = {
            "fingerprint": version.fingerprint,
            "certificate": _describe_certificate(version.certificate),
            **_describe_issuers(version),
        }
        old_value = {
            "fingerprint": key.current.fingerprint,
            "certificate": _describe_certificate(key.current.certificate),
            **_describe_issuers(key.current),
        }
        return self._add_version(unit_of_work, subject, key, version, message, new_value, old_value)

    async def create_certificate_request(self, subject: str, uri: str) -> str:
        """Have a worker create a certificate request (PKCS#10, PEM) for the current version of a signing key.

        Raises :class:`InvalidKeyError` if the key is symmetric.
        """
        self._permissions.require_type(subject, Action.UPDATE, ResourceType.KEY)
        key = self.get(uri)
        command = CreateCertificateRequest(uri=key.uri, version=key.current.version)
        request = (await self._bus.request(command)).text
        if request is None:
            raise WorkerError("The crypto worker did not return a certificate request.")
        unit_of_work = self._repository.begin()
        unit_of_work.audit(
            subject,
            AuditAction.EXPORTED,
            f"KEY:{key.uri}",
            f"certificate request for version {key.current.version} created",
            {"fingerprint": key.current.fingerprint},
        )
        await unit_of_work.commit()
        return request

    async def export(self, subject: str, device: DeviceConfig, key: EncryptionKey, *, confirmed: bool) -> ExportedKey:
        """Have a worker return a symmetric key of a device configuration.

        The audit entry is durable before the key leaves the worker. Raises :class:`ConfirmationRequiredError` if the
        export is not ``confirmed``.
        """
        if not confirmed:
            raise ConfirmationRequiredError(
                f"Anyone with {key.uri} version {key.version} can decrypt every package of {device.name} made with it.",
                Hint.of(HintCode.CONFIRM),
            )
        unit_of_work = self._repository.begin()
        unit_of_work.audit(
            subject,
            AuditAction.EXPORTED,
            device_resource(device.id),
            f"symmetric key {key.uri} version {key.version} exported",
        )
        await unit_of_work.commit()
        content = (await self._bus.request(ExportKey(uri=key.uri, version=key.version))).secret
        if content is None:
            raise WorkerError("The crypto worker did not return the key.")
        return ExportedKey(uri=key.uri, version=key.version, content=content)

    def require_unused_uri(self, uri: str) -> None:
        """Raise :class:`AlreadyExistsError` if the workspace has a key with this URI."""
        if self._repository.get(KEYS, uri) is not None:
            raise AlreadyExistsError(f"Key {uri} already exists.", "Choose another name, or rotate the key.")

    def _find_wrapping_key(self, subject: str, kind: KeyType, uri: str | None) -> str:
        """Return the URI of the key that wraps a new key of type ``kind``; empty if there is none."""
        if uri is None:
            return ""
        if not kind.symmetric:
            raise InvalidKeyError(
                f"A key of type {kind} cannot be wrapped.", "Generate it in the token or key service itself."
            )
        key = self.get_visible(subject, uri)
        require_wrapping_key(key.uri, key.capabilities)
        return key.uri

    def _add_version(
        self,
        unit_of_work: UnitOfWork,
        subject: str,
        key: KeyInfo,
        version: KeyVersion,
        message: str,
        new_value: dict[str, Any],
        old_value: dict[str, Any],
    ) -> KeyInfo:
        """Add a version to ``key`` in ``unit_of_work``, with an audit entry, and return the changed key."""
        versions = sorted((*key.versions, version), key=lambda version: version.version)
        key = msgspec.structs.replace(key, versions=tuple(versions))
        unit_of_work.put(KEYS, key.uri, key)
        unit_of_work.audit(subject, AuditAction.UPDATED, f"KEY:{key.uri}", message, new_value, old_value=old_value)
        unit_of_work.notify(f"KEY:{key.uri}")
        return key

    def add_record(self, unit_of_work: UnitOfWork, key: KeyInfo | None, subject: str) -> KeyInfo:
        """Add a key that a worker has returned to ``unit_of_work``, with an audit entry, and return it."""
        if key is None:
            raise WorkerError("The crypto worker did not return a key.")
        key = msgspec.structs.replace(key, created_by=subject)
        unit_of_work.put(KEYS, key.uri, key)
        unit_of_work.audit(
            subject,
            AuditAction.CREATED,
            f"KEY:{key.uri}",
            f"{key.kind}, {key.current.origin}, for {key.purpose}",
            {"fingerprint": key.current.fingerprint, "version": key.current.version, **_describe_wrapping(key.current)},
        )
        unit_of_work.notify(f"KEY:{key.uri}")
        return key


def require_wrapping_key(uri: str, capabilities: KeyCapabilities | UnsetType) -> None:
    """Raise :class:`InvalidKeyError` if the key ``uri`` cannot wrap local keys."""
    is_local = parse_key_uri(uri).scheme == LOCAL_SCHEME
    if is_local or capabilities is UNSET or not capabilities.can_wrap:
        raise InvalidKeyError(f"{uri} cannot wrap keys.", "Use an AES key in a token or key service.")


def find_pending(unit_of_work: UnitOfWork, uri: str) -> KeyInfo | None:
    """Return the key as changed by ``unit_of_work``, or None if it does not change the key."""
    for table, identity, document in unit_of_work.puts:
        if (table, identity) == (KEYS.name, uri):
            return msgspec.json.decode(document, type=KeyInfo)
    return None


def _has_certificate(version: KeyVersion, fingerprint: str) -> bool:
    return version.certificate is not None and _describe_certificate(version.certificate)["fingerprint"] == fingerprint


def _describe_certificate(pem: str) -> Any:
    from sealyard.crypto.certificates import describe_certificate  # imported here, so that commands start faster

    return msgspec.to_builtins(describe_certificate(pem))


def _describe_wrapping(version: KeyVersion) -> dict[str, Any]:
    return {} if version.wrapped_by is UNSET else {"wrappedBy": msgspec.to_builtins(version.wrapped_by)}


def _describe_issuers(version: KeyVersion) -> dict[str, Any]:
    if version.issuers is UNSET:
        return {}
    return {"issuers": [_describe_certificate(issuer.certificate) for issuer in version.issuer_certificates]}


def _key_not_found(uri: str, *, hidden: bool = False) -> NotFoundError:
    return NotFoundError(f"Key {uri} not found.", Hint.of(HintCode.LIST_KEYS), hidden=hidden)
