"""Key provider for keys in a token or key service, which it reaches through a key backend.

The backend holds the private keys; this provider records their versions and certificates in the workspace
(:mod:`sealyard.keys.key_records`). Every signature is verified with the recorded public key before it is returned.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET

from sealyard.crypto.certificates import COMMON_NAME_LIMIT, load_certificate
from sealyard.crypto.protocols import ContentCipher
from sealyard.keys.backend import KeyBackend
from sealyard.keys.external_signatures import SignDocument, create_certificate_request, create_self_signed
from sealyard.keys.key_import import load_certificate_of
from sealyard.keys.key_records import KeyRecord, KeyRecords
from sealyard.keys.material import describe_public_key
from sealyard.keys.provider import Signer
from sealyard.keys.verified_signer import VerifiedSigner, load_public_key
from sealyard.keys.wrapping import check_secret_size
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.backend_keys import BackendKey
from sealyard.model.errors import AlreadyExistsError, InvalidKeyError
from sealyard.model.keys import KeyCapabilities, KeyInfo, KeyVersion

_SYMMETRIC_FINGERPRINT_LENGTH = 8


class RegisteredKeyProvider:
    """The key provider of one scheme whose keys are in a token or key service."""

    def __init__(self, scheme: str, backend: KeyBackend, records: KeyRecords) -> None:
        self._scheme = scheme
        self._backend = backend
        self._records = records

    async def close(self) -> None:
        await self._backend.close()

    async def probe(self) -> None:
        await self._backend.probe()

    async def get_capabilities(self, name: str) -> KeyCapabilities:
        return self._records.get(self._uri(name)).capabilities

    async def get_info(self, name: str) -> KeyInfo:
        return self._records.get(self._uri(name)).info

    async def generate(self, name: str, kind: KeyType, purpose: KeyPurpose, subject: str) -> KeyInfo:
        if self._records.find(self._uri(name)) is not None:
            raise AlreadyExistsError(
                f"Key {self._uri(name)} is registered already.", "Rotate it, or choose another name."
            )
        canonical_name, key = await self._backend.generate(name, kind)
        return await self._create_record(canonical_name, key, purpose, "generated", subject, None)

    async def register(self, name: str, kind: KeyType, purpose: KeyPurpose, certificate: bytes | None) -> KeyInfo:
        canonical_name = await self._backend.resolve(name)
        key = await self._backend.describe(canonical_name)
        uri = self._uri(canonical_name)
        if key.kind is not kind:
            raise InvalidKeyError(f"{uri} is a key of type {key.kind}, not {kind}.", f"Register it as {key.kind}.")
        record = self._records.find(uri)
        if record is None:
            return await self._create_record(canonical_name, key, purpose, "registered", "", certificate)
        if record.info.purpose is not purpose:
            raise InvalidKeyError(
                f"{uri} is registered already, with the purpose {record.info.purpose}.",
                f"Register it for {record.info.purpose}.",
            )
        if key.native_id != record.info.current.native_id:
            await self._add_version(canonical_name, key, "registered")
        if certificate is not None:
            number = self._records.get(uri).info.current.version
            await self.import_certificate(canonical_name, number, certificate)
        return self._records.get(uri).info

    async def import_key(
        self,
        name: str,
        content: bytes,
        kind: KeyType,
        purpose: KeyPurpose,
        password: str | None,
        certificate: bytes | None,
    ) -> KeyInfo:
        raise InvalidKeyError(
            f"Keys of the scheme {self._scheme} cannot be imported.",
            "Import the key with the tools of its token or service, then register it.",
        )

    async def rotate(self, name: str) -> KeyVersion:
        self._records.get(self._uri(name))
        return await self._add_version(name, await self._backend.rotate(name), "generated")

    async def import_certificate(self, name: str, version: int, content: bytes) -> KeyVersion:
        public_key = load_public_key(self._find_version(name, version), self._uri(name))
        certificate = load_certificate_of(public_key, content)

        def add_version(record: KeyRecord | None) -> KeyRecord:
            assert record is not None
            current = record.info.current
            renewed = describe_public_key(public_key, current.version + 1, "renewed", certificate)
            if renewed.certificate_chain == current.certificate_chain:
                return record
            native_id = record.info.versions[version - 1].native_id
            return _with_version(record, msgspec.structs.replace(renewed, native_id=native_id))

        return (await self._update(name, add_version)).info.current

    async def create_certificate_request(self, name: str, version: int) -> str:
        key = self._find_version(name, version)
        public_key = load_public_key(key, self._uri(name))
        assert key.certificate is not None
        algorithms = key.capabilities.algorithms
        return await create_certificate_request(
            public_key, key.certificate, algorithms, self._document_signer(name, key)
        )

    async def signer(self, name: str, version: int, algorithm: SigningAlgorithm, *, prehashed: bool = False) -> Signer:
        key = self._find_version(name, version)
        return VerifiedSigner(self._backend, self._uri(name), key, algorithm, prehashed=prehashed)

    async def cipher(self, name: str, version: int, algorithm: EncryptionAlgorithm) -> ContentCipher:
        self._find_version(name, version)
        raise InvalidKeyError(
            f"{self._uri(name)} cannot encrypt firmware, which is too large to be sent to a token or service.",
            "Use a local key that is wrapped with this key.",
        )

    async def wrap(self, name: str, version: int, secret: bytes, associated_data: bytes) -> bytes:
        native_id = self._find_wrapping_key(name, version)
        check_secret_size(secret)
        return await self._backend.wrap(name, native_id, secret, associated_data)

    async def unwrap(self, name: str, version: int, wrapped: bytes, associated_data: bytes) -> bytes:
        return await self._backend.unwrap(name, self._find_wrapping_key(name, version), wrapped, associated_data)

    async def export_symmetric(self, name: str, version: int) -> bytes:
        self._find_version(name, version)
        raise InvalidKeyError(f"{self._uri(name)} cannot be exported.", "It never leaves its token or service.")

    def _uri(self, name: str) -> str:
        return f"{self._scheme}:{name}"

    def _find_version(self, name: str, version_number: int) -> BackendKey:
        record = self._records.get(self._uri(name))
        version = record.info.require_version(version_number)
        assert version.native_id is not UNSET
        return BackendKey(
            native_id=version.native_id,
            kind=record.info.kind,
            public_key=version.public_key,
            certificate=version.certificate,
            capabilities=record.capabilities,
        )

    def _find_wrapping_key(self, name: str, version_number: int) -> str:
        key = self._find_version(name, version_number)
        if not key.capabilities.can_wrap:
            raise InvalidKeyError(f"{self._uri(name)} cannot wrap secrets.", f"Use a key of type {KeyType.AES_256}.")
        return key.native_id

    async def _create_record(
        self, name: str, key: BackendKey, purpose: KeyPurpose, origin: str, subject: str, certificate: bytes | None
    ) -> KeyInfo:
        """Record version 1 of a key, unless another worker has recorded it meanwhile."""
        version = await self._describe(name, key, origin, subject, certificate)
        info = KeyInfo(uri=self._uri(name), kind=key.kind, purpose=purpose, versions=(version,))
        new_record = KeyRecord(info=info, capabilities=key.capabilities)
        return (await self._update(name, lambda record: record or new_record)).info

    async def _add_version(self, name: str, key: BackendKey, origin: str) -> KeyVersion:
        certificate = self._records.get(self._uri(name)).info.current.certificate
        subject = load_certificate(certificate.encode()).subject if certificate else ""
        version = await self._describe(name, key, origin, subject, None)

        def add_version(record: KeyRecord | None) -> KeyRecord:
            assert record is not None
            number = record.info.current.version + 1
            return _with_version(record, msgspec.structs.replace(version, version=number))

        return (await self._update(name, add_version)).info.current

    async def _update(self, name: str, change: Callable[[KeyRecord | None], KeyRecord]) -> KeyRecord:
        return await asyncio.to_thread(self._records.update, self._uri(name), change)

    async def _describe(
        self, name: str, key: BackendKey, origin: str, subject: str, certificate: bytes | None
    ) -> KeyVersion:
        """Return ``key`` as version 1, with the given certificate, the stored or a self-signed one."""
        if key.public_key is None:
            identity = hashlib.sha256(f"{self._uri(name)}|{key.native_id}".encode())
            return KeyVersion(
                version=1,
                created_at=datetime.now(UTC),
                origin=origin,
                fingerprint=identity.digest()[:_SYMMETRIC_FINGERPRINT_LENGTH].hex(),
                native_id=key.native_id,
            )
        public_key = load_public_key(key, self._uri(name))
        if certificate is not None:
            content = load_certificate_of(public_key, certificate)
        elif key.certificate is not None:
            content = key.certificate.encode()
        else:
            common_name = (subject or name)[:COMMON_NAME_LIMIT]
            sign, algorithms = self._document_signer(name, key), key.capabilities.algorithms
            content = await create_self_signed(public_key, common_name, datetime.now(UTC), algorithms, sign)
        version = describe_public_key(public_key, 1, origin, content)
        return msgspec.structs.replace(version, native_id=key.native_id)

    def _document_signer(self, name: str, key: BackendKey) -> SignDocument:
        async def sign(algorithm: SigningAlgorithm, message: bytes) -> bytes:
            return await VerifiedSigner(self._backend, self._uri(name), key, algorithm).sign(message)

        return sign


def _with_version(record: KeyRecord, version: KeyVersion) -> KeyRecord:
    info = msgspec.structs.replace(record.info, versions=(*record.info.versions, version))
    return msgspec.structs.replace(record, info=info)
