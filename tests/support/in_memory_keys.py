"""Real keys in memory, for a bus without workers. Apart from RSA keys, they are the same in every run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from functools import cache

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealyard.audit.checkpoint import checkpoint_body, format_note, verify_note
from sealyard.crypto.certificates import compute_fingerprint, create_certificate_request, create_self_signed
from sealyard.crypto.signatures import PrivateKey
from sealyard.keyholder.state import SignedCheckpoint, check_checkpoint, check_store_generation
from sealyard.keys.capabilities import describe_capabilities
from sealyard.keys.key_import import load_certificate_of
from sealyard.keys.material import describe
from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.audit import Checkpoint
from sealyard.model.backend_keys import DescribedKey, ProviderKeys, ProviderStatus
from sealyard.model.clock import Clock
from sealyard.model.errors import AlreadyExistsError, InvalidKeyError, NotFoundError
from sealyard.model.key_commands import (
    AuditPublicKey,
    ConfirmAudited,
    CreateCertificateRequest,
    DescribeKey,
    ExportKey,
    GenerateKey,
    GetSignedCheckpoint,
    ImportCertificate,
    ImportKey,
    KeyCommand,
    ListBackendKeys,
    ProbeAuditKey,
    ProbeEncryptionKey,
    ProbeProviders,
    ProbeSigningKey,
    RegisterKey,
    RotateKey,
    SignCheckpoint,
)
from sealyard.model.key_holder_messages import EngineKeys, StoreGeneration, WorkerStateInfo
from sealyard.model.keys import KeyCapabilities, KeyInfo, KeyVersion, WrappingKey
from sealyard.model.worker_messages import KeyResponse

_ML_DSA_KEYS: dict[KeyType, Callable[[bytes], PrivateKey]] = {
    KeyType.ML_DSA_44: mldsa.MLDSA44PrivateKey.from_seed_bytes,
    KeyType.ML_DSA_65: mldsa.MLDSA65PrivateKey.from_seed_bytes,
    KeyType.ML_DSA_87: mldsa.MLDSA87PrivateKey.from_seed_bytes,
}


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """Return the RSA key of all tests; generating one takes long."""
    return rsa.generate_private_key(65537, 3072)


class InMemoryKeys:
    """The keys of a workspace's key store; they outlive the engines that use them."""

    def __init__(self, origin: str, clock: Clock) -> None:
        self._origin = origin
        self._clock = clock
        self._audit = Ed25519PrivateKey.from_private_bytes(_derive_secret(f"{origin} audit"))
        self._signed = WorkerStateInfo()
        self.store_generation: StoreGeneration | None = None
        self.engine_keys = EngineKeys(
            store_key=_derive_secret(f"{origin} store"),
            link_key=_derive_secret(f"{origin} links"),
            secrets_key=_derive_secret(f"{origin} secrets"),
            order_key=_derive_secret(f"{origin} orders"),
        )
        self.infos: dict[str, KeyInfo] = {}
        self.provider_keys: tuple[ProviderKeys, ...] = ()
        """The keys of tokens and key services."""
        self.capabilities: dict[str, KeyCapabilities] = {}
        """By name, the capabilities of keys of tokens and key services; by default, those of local keys."""
        self.private: dict[tuple[str, int], PrivateKey] = {}
        self.symmetric: dict[tuple[str, int], bytes] = {}

    def respond(self, question: KeyCommand) -> KeyResponse:
        match question:
            case GenerateKey(uri=uri, kind=kind, purpose=purpose) | ImportKey(uri=uri, kind=kind, purpose=purpose):
                origin = "generated" if isinstance(question, GenerateKey) else "imported"
                created_key = self._create(uri, kind, purpose, origin, question.wrapping_key)
                return KeyResponse(request_id=0, key=created_key)
            case DescribeKey() | RegisterKey() | ListBackendKeys() | ProbeProviders():
                return self._use_providers(question)
            case RotateKey(uri=uri):
                return KeyResponse(request_id=0, version=self._rotate(uri))
            case ImportCertificate(uri=uri, version=version, content=content):
                return KeyResponse(request_id=0, version=self._import_certificate(uri, version, content))
            case CreateCertificateRequest(uri=uri, version=version):
                key = self.private[uri, version]
                certificate = self.infos[uri].versions[version - 1].certificate or ""
                return KeyResponse(request_id=0, text=create_certificate_request(key, certificate))
            case ExportKey(uri=uri, version=version):
                return KeyResponse(request_id=0, secret=self.symmetric[uri, version])
            case GetSignedCheckpoint() | ConfirmAudited():
                return KeyResponse(request_id=0, state=self._signed)
            case SignCheckpoint(size=size, root=root):
                self._record_checkpoint(question)
                return KeyResponse(request_id=0, text=self._note(Checkpoint(origin=self._origin, size=size, root=root)))
            case AuditPublicKey(last_note=last_note):
                if last_note is not None:
                    verify_note(last_note, self._public())
                return KeyResponse(request_id=0, text=self._public().decode())
            case ProbeSigningKey() | ProbeEncryptionKey() | ProbeAuditKey():
                self._probe(question)
                return KeyResponse(request_id=0)

    def _probe(self, question: ProbeSigningKey | ProbeEncryptionKey | ProbeAuditKey) -> None:
        if not isinstance(question, ProbeAuditKey):
            self._require(question.key.uri, question.key.version)
        elif question.public_key.encode() != self._public():
            raise InvalidKeyError("A test signature of the audit key does not match.")

    def _use_providers(self, question: DescribeKey | RegisterKey | ListBackendKeys | ProbeProviders) -> KeyResponse:
        match question:
            case DescribeKey(uri=uri):
                return KeyResponse(request_id=0, described=self._describe(uri))
            case RegisterKey(uri=uri, kind=kind, purpose=purpose):
                described = self._describe(uri)
                key = self.infos.get(uri) or self._create(uri, kind, purpose, "registered")
                key = msgspec.structs.replace(key, capabilities=described.capabilities)
                return KeyResponse(request_id=0, key=key)
            case ListBackendKeys(section=name):
                sections = tuple(section for section in self.provider_keys if name in ("", section.section))
                return KeyResponse(request_id=0, provider_keys=sections)
            case ProbeProviders():
                states = [
                    ProviderStatus(
                        section=section.section,
                        scheme=section.scheme,
                        key_prefix=section.key_prefix,
                        error=section.error,
                    )
                    for section in self.provider_keys
                ]
                return KeyResponse(request_id=0, providers=tuple(states))

    def _describe(self, uri: str) -> DescribedKey:
        """Return the key of a token or key service with this URI, or with its label as the alias."""
        for section in self.provider_keys:
            for key in section.keys:
                if uri in (f"{section.scheme}:{key.name}", f"{section.scheme}:{key.label}"):
                    capabilities = self.capabilities.get(key.name) or describe_capabilities(key.kind)
                    return DescribedKey(uri=f"{section.scheme}:{key.name}", kind=key.kind, capabilities=capabilities)
        raise NotFoundError(f"Key {uri} not found.")

    def copy(self, clock: Clock) -> InMemoryKeys:
        """Return a key store with the same keys, for a copy of the workspace."""
        keys = InMemoryKeys(self._origin, clock)
        keys.infos = dict(self.infos)
        keys._signed = self._signed
        keys.store_generation = self.store_generation
        keys.private = dict(self.private)
        keys.symmetric = dict(self.symmetric)
        return keys

    @property
    def signed_checkpoint(self) -> WorkerStateInfo:
        """The last checkpoint that was signed."""
        return self._signed

    def restore_state(self, generation: StoreGeneration | None, signed_checkpoint: WorkerStateInfo) -> None:
        """Continue with the state that another process has left."""
        self.store_generation = generation
        self._signed = signed_checkpoint

    def update_store_generation(self, generation: StoreGeneration | None) -> StoreGeneration | None:
        if generation is not None and check_store_generation(generation, self.store_generation):
            self.store_generation = generation
        return self.store_generation

    def _record_checkpoint(self, request: SignCheckpoint) -> None:
        last = SignedCheckpoint(size=self._signed.size, root=self._signed.root) if self._signed.size else None
        checkpoint = SignedCheckpoint(size=request.size, root=request.root)
        check_checkpoint(checkpoint, last, [bytes.fromhex(each) for each in request.proof])
        self._signed = WorkerStateInfo(size=request.size, root=request.root)

    def delete(self, uri: str) -> None:
        """As a key store would that lost the key's files."""
        self.private = {key: held for key, held in self.private.items() if key[0] != uri}
        self.symmetric = {key: held for key, held in self.symmetric.items() if key[0] != uri}

    def _require(self, uri: str, version: int) -> None:
        if (uri, version) not in self.private.keys() | self.symmetric.keys():
            raise NotFoundError(f"Key {uri} version {version} not found.")

    def _create(self, uri: str, kind: KeyType, purpose: KeyPurpose, origin: str, wrapping_key: str = "") -> KeyInfo:
        if uri in self.infos:
            raise AlreadyExistsError(f"Key {uri} already exists.")
        first = self._version(uri, kind, 1, origin)
        if wrapping_key:
            wrapped_by = WrappingKey(uri=wrapping_key, version=self.infos[wrapping_key].current.version)
            first = msgspec.structs.replace(first, wrapped_by=wrapped_by)
        self.infos[uri] = KeyInfo(uri=uri, kind=kind, purpose=purpose, versions=(first,))
        return self.infos[uri]

    def _rotate(self, uri: str) -> KeyVersion:
        info = self.infos.get(uri)
        if info is None:
            raise NotFoundError(f"Key {uri} not found.")
        fresh = self._version(uri, info.kind, info.current.version + 1, "generated")
        self.infos[uri] = msgspec.structs.replace(info, versions=(*info.versions, fresh))
        return fresh

    def _import_certificate(self, uri: str, version: int, content: bytes) -> KeyVersion:
        info, key = self.infos[uri], self.private.get((uri, version))
        if key is None:
            raise InvalidKeyError("A symmetric key has no certificate.")
        certificates = load_certificate_of(key.public_key(), content, self._clock.now())
        renewed = describe(key, info.current.version + 1, "renewed", certificates)
        if renewed.certificate_chain == info.current.certificate_chain:
            return info.current
        self.private[uri, renewed.version] = key
        self.infos[uri] = msgspec.structs.replace(info, versions=(*info.versions, renewed))
        return renewed

    def _version(self, uri: str, kind: KeyType, version: int, origin: str) -> KeyVersion:
        now = self._clock.now()
        if kind.symmetric:
            length = 16 if kind is KeyType.AES_128 else 32
            data = self.symmetric[uri, version] = _derive_secret(f"{uri} {version}")[:length]
            fingerprint = hashlib.sha256(data).hexdigest()[:16]
            return KeyVersion(version=version, created_at=now, origin=origin, fingerprint=fingerprint)
        key = self.private[uri, version] = _create_private_key(kind, _derive_secret(f"{uri} {version}"))
        public = key.public_key()
        return KeyVersion(
            version=version,
            created_at=now,
            origin=origin,
            fingerprint=compute_fingerprint(public),
            public_key=public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
            certificate=create_self_signed(key, "gateway", now, years=1).decode(),
            certificate_expires_at=now.replace(year=now.year + 1),
            certificate_valid_from=now - timedelta(days=1),
        )

    def _public(self) -> bytes:
        return self._audit.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def _note(self, checkpoint: Checkpoint) -> str:
        return format_note(checkpoint, self._public(), self._audit.sign(checkpoint_body(checkpoint)))


def _derive_secret(label: str) -> bytes:
    return hashlib.sha256(label.encode()).digest()


def _create_private_key(kind: KeyType, secret: bytes) -> PrivateKey:
    if kind is KeyType.ED25519:
        return Ed25519PrivateKey.from_private_bytes(secret)
    if kind is KeyType.EC_P256:
        return ec.derive_private_key(int.from_bytes(secret), ec.SECP256R1())
    if kind in _ML_DSA_KEYS:
        return _ML_DSA_KEYS[kind](secret)
    return rsa_key()
