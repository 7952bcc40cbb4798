"""Where keys are opened, and the questions about keys are answered."""

from __future__ import annotations

import os
from pathlib import Path

from sealyard.audit.checkpoint import checkpoint_body, format_note
from sealyard.crypto.protocols import ContentCipher
from sealyard.fs.private import create_private_file
from sealyard.keys.local import LocalKeyProvider
from sealyard.keys.master_key import open_master_key
from sealyard.keys.provider import KeyProvider, Signer
from sealyard.keys.registry import key_provider
from sealyard.model.algorithms import KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.audit import Checkpoint
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.errors import NotFoundError
from sealyard.model.keys import KeyVersion, parse_key_uri
from sealyard.model.worker_messages import (
    AuditPublicKey,
    ExportKey,
    GenerateKey,
    ImportKey,
    KeyCommand,
    KeyResponse,
    OpenKeyStore,
    ProbeEncryptionKey,
    ProbeSigningKey,
    RotateKey,
    SignCheckpoint,
)
from sealyard.worker.key_probe import probe_cipher, probe_signer

AUDIT_KEY_NAME = "audit"


class KeyService:
    """The providers of one workspace, opened under its master key, and its audit key."""

    def __init__(self, unlock: OpenKeyStore) -> None:
        workspace = Path(unlock.workspace)
        master = open_master_key(
            unlock.key_store, workspace / "keys", unlock.workspace_id, unlock.passphrase, create=unlock.create
        )
        self._workspace_id = unlock.workspace_id
        self._origin = f"sealyard/{unlock.workspace_id}"
        self._folder = workspace / "keys"
        self._master = master
        self._providers: dict[str, KeyProvider] = {}
        self._audit = LocalKeyProvider(self._folder / "audit", master)
        self._audit_version: KeyVersion | None = None

    async def signer(self, key: SigningKey) -> Signer:
        uri = parse_key_uri(key.uri)
        return await self._provider(uri.scheme).signer(uri.name, key.version, key.algorithm)

    async def key_purpose(self, key: SigningKey) -> KeyPurpose:
        uri = parse_key_uri(key.uri)
        return (await self._provider(uri.scheme).get_info(uri.name)).purpose

    async def cipher(self, key: EncryptionKey) -> ContentCipher:
        uri = parse_key_uri(key.uri)
        return await self._provider(uri.scheme).cipher(uri.name, key.version, key.algorithm)

    async def handle(self, number: int, question: KeyCommand) -> KeyResponse:
        """The answer to any question; raises the project's errors."""
        match question:
            case GenerateKey():
                return await self._generate(number, question)
            case ImportKey():
                return await self._import(number, question)
            case RotateKey():
                uri = parse_key_uri(question.uri)
                return KeyResponse(request_id=number, version=await self._provider(uri.scheme).rotate(uri.name))
            case ExportKey():
                return await self._export(number, question)
            case AuditPublicKey():
                return KeyResponse(request_id=number, text=(await self._audit_key()).public_key)
            case SignCheckpoint():
                return KeyResponse(request_id=number, text=await self._sign_checkpoint(question))
            case ProbeSigningKey(key=key, certificate=certificate):
                await probe_signer(await self.signer(key), key.algorithm, certificate, self._workspace_id)
                return KeyResponse(request_id=number)
            case ProbeEncryptionKey(key=key):
                await probe_cipher(await self.cipher(key))
                return KeyResponse(request_id=number)

    def _provider(self, scheme: str) -> KeyProvider:
        if scheme not in self._providers:
            self._providers[scheme] = key_provider(scheme, self._folder, self._master)
        return self._providers[scheme]

    async def _generate(self, number: int, question: GenerateKey) -> KeyResponse:
        uri = parse_key_uri(question.uri)
        made = await self._provider(uri.scheme).generate(uri.name, question.kind, question.purpose, question.subject)
        return KeyResponse(request_id=number, key=made)

    async def _import(self, number: int, question: ImportKey) -> KeyResponse:
        uri = parse_key_uri(question.uri)
        taken = await self._provider(uri.scheme).import_key(
            uri.name,
            Path(question.path),
            question.kind,
            question.purpose,
            question.password,
            Path(question.certificate) if question.certificate else None,
        )
        return KeyResponse(request_id=number, key=taken)

    async def _export(self, number: int, question: ExportKey) -> KeyResponse:
        uri = parse_key_uri(question.uri)
        data = await self._provider(uri.scheme).export_symmetric(uri.name, question.version)
        with os.fdopen(create_private_file(Path(question.path)), "wb") as file:
            file.write(data)
        return KeyResponse(request_id=number, text=question.path)

    async def _audit_key(self) -> KeyVersion:
        if self._audit_version is None:
            try:
                info = await self._audit.get_info(AUDIT_KEY_NAME)
            except NotFoundError:
                info = await self._audit.generate(
                    AUDIT_KEY_NAME, KeyType.ED25519, KeyPurpose.DATA, "Sealyard audit log"
                )
            self._audit_version = info.current
        return self._audit_version

    async def _sign_checkpoint(self, question: SignCheckpoint) -> str:
        key = await self._audit_key()
        assert key.public_key is not None
        checkpoint = Checkpoint(origin=self._origin, size=question.size, root=question.root)
        signer = await self._audit.signer(AUDIT_KEY_NAME, key.version, SigningAlgorithm.ED25519)
        return format_note(checkpoint, key.public_key.encode(), await signer.sign(checkpoint_body(checkpoint)))
