"""Access to the keys of a workspace, and execution of key commands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from sealyard.audit.checkpoint import checkpoint_body, format_note, verify_note
from sealyard.audit.reader import AuditReader
from sealyard.crypto.protocols import ContentCipher
from sealyard.keys.audit_key import AUDIT_KEY_NAME, open_audit_provider
from sealyard.keys.local import LocalKeyProvider
from sealyard.keys.provider import KeyProvider, Signer
from sealyard.model.algorithms import KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.audit import Checkpoint
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.errors import (
    AuditVerificationError,
    InvalidKeyError,
    KeyProviderUnavailableError,
    NotFoundError,
    WorkerStateError,
)
from sealyard.model.key_commands import (
    AuditCommand,
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
    ProviderCommand,
    RegisterKey,
    RotateKey,
    SignCheckpoint,
)
from sealyard.model.key_holder_messages import OpenKeys, WorkerStateInfo
from sealyard.model.key_uris import LOCAL_SCHEME, parse_key_uri
from sealyard.model.keys import KeyInfo, KeyVersion
from sealyard.model.worker_messages import KeyResponse
from sealyard.worker.build_secrets import BuildSecrets
from sealyard.worker.holder_channel import HolderChannel
from sealyard.worker.key_probe import probe_audit_signer, probe_cipher, probe_signer
from sealyard.worker.key_providers import KeyProviders

COMMAND_TIMEOUT = 55.0
"""Time in seconds that a key command may take: less than a worker has to answer the engine."""


class KeyService:
    """Access to the keys of one workspace: its key providers, opened with the master key, and its audit key."""

    def __init__(
        self, request: OpenKeys, holder: HolderChannel | None = None, provider_fds: Sequence[int] = ()
    ) -> None:
        """Open the keys. ``holder``: records checkpoints before they are signed; without it, none can be signed.

        ``provider_fds``: a socket for each provider of ``request``, in the same order.
        """
        self._holder = holder
        self._workspace_id = request.workspace_id
        self._origin = f"sealyard/{request.workspace_id}"
        self.workspace = Path(request.workspace)
        self._providers = KeyProviders(request, provider_fds)
        self._audit_provider = open_audit_provider(self.workspace, request.master_key)
        self._audit_version: KeyVersion | None = None
        self.build_secrets = BuildSecrets(request.master_key, request.workspace_id)

    def start(self) -> None:
        """Start the connections to key providers. Must be called on the event loop that uses the keys."""
        self._providers.start()

    async def signer(self, key: SigningKey) -> Signer:
        provider, name = self._providers.find(key.uri)
        return await provider.signer(name, key.version, key.algorithm)

    async def key_purpose(self, key: SigningKey) -> KeyPurpose:
        provider, name = self._providers.find(key.uri)
        return (await provider.get_info(name)).purpose

    async def cipher(self, key: EncryptionKey) -> ContentCipher:
        provider, name = self._providers.find(key.uri)
        return await provider.cipher(name, key.version, key.algorithm)

    async def handle(self, request_id: int, command: KeyCommand) -> KeyResponse:
        """Execute a key command and return its response. Raises the errors of :mod:`sealyard.model.errors`.

        A command can take several requests to a key provider. If it takes too long, raises
        :class:`KeyProviderUnavailableError`, before the engine gives up this worker.
        """
        if isinstance(command, AuditCommand):
            return await self._handle_audit(request_id, command)
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT):
                return await self._use_provider(request_id, command)
        except TimeoutError:
            raise KeyProviderUnavailableError("The key provider did not finish in time.", "Try again.") from None

    async def _use_provider(self, request_id: int, command: ProviderCommand) -> KeyResponse:
        match command:
            case GenerateKey():
                return await self._generate(request_id, command)
            case RegisterKey():
                return await self._register(request_id, command)
            case DescribeKey(uri=uri):
                return KeyResponse(request_id=request_id, described=await self._providers.describe(uri))
            case ImportKey():
                return await self._import(request_id, command)
            case RotateKey():
                provider, name = self._providers.find(command.uri)
                return KeyResponse(request_id=request_id, version=await provider.rotate(name))
            case ImportCertificate():
                return await self._import_certificate(request_id, command)
            case CreateCertificateRequest():
                return await self._create_certificate_request(request_id, command)
            case ExportKey():
                return await self._export(request_id, command)
            case ListBackendKeys(section=section):
                return KeyResponse(request_id=request_id, provider_keys=await self._providers.list_keys(section))
            case ProbeProviders():
                return KeyResponse(request_id=request_id, providers=await self._providers.probe())
            case ProbeSigningKey() | ProbeEncryptionKey() | ProbeAuditKey():
                await self._probe(command)
                return KeyResponse(request_id=request_id)

    async def _handle_audit(self, request_id: int, command: AuditCommand) -> KeyResponse:
        match command:
            case AuditPublicKey(last_note=last_note):
                return KeyResponse(request_id=request_id, text=await self._get_audit_public_key(last_note))
            case GetSignedCheckpoint():
                return KeyResponse(request_id=request_id, state=await self._get_signed_checkpoint())
            case ConfirmAudited():
                await self._require_holder().record_audited()
                return KeyResponse(request_id=request_id)
            case SignCheckpoint():
                return KeyResponse(request_id=request_id, text=await self._sign_checkpoint(command))

    async def _probe(self, command: ProbeSigningKey | ProbeEncryptionKey | ProbeAuditKey) -> None:
        match command:
            case ProbeSigningKey(key=key, certificate=certificate):
                await probe_signer(await self.signer(key), key.algorithm, certificate, self._workspace_id)
            case ProbeEncryptionKey(key=key):
                await probe_cipher(await self.cipher(key))
            case ProbeAuditKey(public_key=public_key):
                await probe_audit_signer(await self._open_audit_signer(), public_key, self._workspace_id)

    async def _generate(self, request_id: int, command: GenerateKey) -> KeyResponse:
        provider, name = self._providers.find(command.uri)
        if command.wrapping_key:
            local = _require_local(provider, command.uri)
            key = await local.generate(name, command.kind, command.purpose, command.subject, command.wrapping_key)
        else:
            key = await provider.generate(name, command.kind, command.purpose, command.subject)
        return KeyResponse(request_id=request_id, key=await _add_capabilities(provider, key))

    async def _register(self, request_id: int, command: RegisterKey) -> KeyResponse:
        provider, name = self._providers.find(command.uri)
        key = await provider.register(name, command.kind, command.purpose, command.certificate)
        return KeyResponse(request_id=request_id, key=await _add_capabilities(provider, key))

    async def _import(self, request_id: int, command: ImportKey) -> KeyResponse:
        provider, name = self._providers.find(command.uri)
        content = (command.content, command.kind, command.purpose, command.password, command.certificate)
        if command.wrapping_key:
            key = await _require_local(provider, command.uri).import_key(name, *content, command.wrapping_key)
        else:
            key = await provider.import_key(name, *content)
        return KeyResponse(request_id=request_id, key=await _add_capabilities(provider, key))

    async def _import_certificate(self, request_id: int, command: ImportCertificate) -> KeyResponse:
        provider, name = self._providers.find(command.uri)
        version = await provider.import_certificate(name, command.version, command.content)
        return KeyResponse(request_id=request_id, version=version)

    async def _create_certificate_request(self, request_id: int, command: CreateCertificateRequest) -> KeyResponse:
        provider, name = self._providers.find(command.uri)
        text = await provider.create_certificate_request(name, command.version)
        return KeyResponse(request_id=request_id, text=text)

    async def _export(self, request_id: int, command: ExportKey) -> KeyResponse:
        provider, name = self._providers.find(command.uri)
        return KeyResponse(request_id=request_id, secret=await provider.export_symmetric(name, command.version))

    async def _load_audit_key(self) -> KeyVersion:
        if self._audit_version is None:
            try:
                info = await self._audit_provider.get_info(AUDIT_KEY_NAME)
            except NotFoundError:
                info = await self._audit_provider.generate(
                    AUDIT_KEY_NAME, KeyType.ED25519, KeyPurpose.DATA, "Sealyard audit log"
                )
            self._audit_version = info.current
        return self._audit_version

    async def _get_audit_public_key(self, last_note: str | None) -> str:
        """Return the public audit key (PEM), after verifying that it verifies ``last_note``.

        Raises :class:`AuditVerificationError` if it does not.
        """
        public_key = (await self._load_audit_key()).public_key
        assert public_key is not None
        if last_note is not None:
            verify_note(last_note, public_key.encode())
        return public_key

    async def _open_audit_signer(self) -> Signer:
        version = (await self._load_audit_key()).version
        return await self._audit_provider.signer(AUDIT_KEY_NAME, version, SigningAlgorithm.ED25519)

    async def _sign_checkpoint(self, command: SignCheckpoint) -> str:
        key = await self._load_audit_key()
        assert key.public_key is not None
        checkpoint = Checkpoint(origin=self._origin, size=command.size, root=command.root)
        await self._get_signed_checkpoint()
        await self._require_holder().record_checkpoint(command.size, command.root, command.proof)
        signer = await self._open_audit_signer()
        return format_note(checkpoint, key.public_key.encode(), await signer.sign(checkpoint_body(checkpoint)))

    async def _get_signed_checkpoint(self) -> WorkerStateInfo:
        """Return the last signed checkpoint according to the worker state.

        If the state has none yet, because an earlier version has signed it, records that of the log first. Raises
        :class:`AuditVerificationError` if that one is not signed by the audit key.
        """
        holder = self._require_holder()
        state = await holder.get_state()
        note = await asyncio.to_thread(AuditReader(self.workspace / "audit").last_note) if state.size == 0 else None
        if note is None:
            return state
        key = await self._load_audit_key()
        assert key.public_key is not None
        checkpoint = verify_note(note, key.public_key.encode())
        if checkpoint.origin != self._origin:
            raise AuditVerificationError(f"The last checkpoint of the audit log is of {checkpoint.origin}.")
        await holder.record_checkpoint(checkpoint.size, checkpoint.root, ())
        return msgspec.structs.replace(state, size=checkpoint.size, root=checkpoint.root)

    def _require_holder(self) -> HolderChannel:
        if self._holder is None:
            raise WorkerStateError("The worker has no key holder.", "Start it through the engine.")
        return self._holder


def _require_local(provider: KeyProvider, uri: str) -> LocalKeyProvider:
    if not isinstance(provider, LocalKeyProvider):
        raise InvalidKeyError(
            f"Only local keys can be wrapped, not {uri}.", f"Use a URI that starts with {LOCAL_SCHEME}:."
        )
    return provider


async def _add_capabilities(provider: KeyProvider, key: KeyInfo) -> KeyInfo:
    """Return ``key`` with its capabilities. It can have another name than in the command, for example of an alias."""
    name = parse_key_uri(key.uri).name
    return msgspec.structs.replace(key, capabilities=await provider.get_capabilities(name))
