"""Tests of the key probe, which proves by use that a key matches its record."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from functools import cache

import msgspec
import pytest

from sealyard.audit.merkle import EMPTY_ROOT
from sealyard.crypto.algorithms import SIGNATURES
from sealyard.crypto.certificates import create_self_signed
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.probe import PREFIX
from sealyard.crypto.protocols import CipherStream
from sealyard.crypto.signatures import PrivateKey
from sealyard.keys.local import LocalSigner
from sealyard.keys.material import generate_key
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.device_configs import SigningKey
from sealyard.model.errors import InvalidKeyError
from sealyard.model.key_commands import (
    AuditPublicKey,
    KeyCommand,
    ProbeAuditKey,
    ProbeEncryptionKey,
    ProbeSigningKey,
    SignCheckpoint,
)
from sealyard.model.worker_messages import JobFailed, KeyRequest, KeyResponse
from sealyard.worker.key_probe import probe_cipher, probe_signer
from tests.support.worker_harness import CIPHER, NOW, WorkerProcess, WorkerWorkspace

PSS = SigningAlgorithm.SHA256_RSA_3072_PSS


@cache
def private_key(kind: KeyType) -> PrivateKey:
    """Return the same key in each call, because generating an RSA key is slow."""
    key = generate_key(kind)
    assert not isinstance(key, bytes)
    return key


class RecordingSigner:
    """A signer that records its inputs and can return a fixed signature instead of its own."""

    def __init__(self, signer: LocalSigner, signature: bytes | None = None) -> None:
        self.inputs: list[bytes] = []
        self._signer = signer
        self._signature = signature

    async def sign(self, data: bytes) -> bytes:
        self.inputs.append(data)
        return await self._signer.sign(data) if self._signature is None else self._signature


class InconsistentCipher:
    """A cipher that decrypts with another key than it encrypts with."""

    def __init__(self, algorithm: EncryptionAlgorithm) -> None:
        self.algorithm = algorithm
        self._first, self._second = (AesCipher(algorithm, bytes([number]) * 16) for number in (1, 2))

    def encryptor(self, iv: bytes) -> CipherStream:
        return self._first.encryptor(iv)

    def decryptor(self, iv: bytes) -> CipherStream:
        return self._second.decryptor(iv)


def make_probe(
    workspace: WorkerWorkspace, key: str, algorithm: SigningAlgorithm, *, certificate_of: str = "", version: int = 1
) -> KeyCommand:
    certificate = workspace.keys[certificate_of or key].current.certificate
    assert certificate is not None
    signing = SigningKey(algorithm=algorithm, uri=f"local:{key}", version=version)
    return ProbeSigningKey(key=signing, certificate=certificate)


def send_command(worker: WorkerProcess, command: KeyCommand) -> KeyResponse:
    worker.send(KeyRequest(request_id=1, command=command))
    return worker.next(KeyResponse)


def test_probe_of_every_key_succeeds(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    commands = [
        *(make_probe(workspace, each, SigningAlgorithm.ED25519) for each in ("both", "packages", "data")),
        *(make_probe(workspace, each, PSS) for each in ("rsa-both", "rsa-data")),
        ProbeEncryptionKey(key=CIPHER),
    ]
    for command in commands:
        assert send_command(worker, command) == KeyResponse(request_id=1)
    assert not workspace.intents


def test_probe_with_other_certificate_fails(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    response = send_command(worker, make_probe(workspace, "both", SigningAlgorithm.ED25519, certificate_of="data"))
    assert response.error is not None
    assert response.error.code == InvalidKeyError.code
    assert "does not match the recorded certificate" in response.error.message


def test_probe_of_audit_key_succeeds(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    public_key = send_command(worker, AuditPublicKey()).text
    assert public_key is not None
    assert send_command(worker, ProbeAuditKey(public_key=public_key)) == KeyResponse(request_id=1)
    assert not workspace.intents


def test_probe_of_audit_key_with_another_public_key_fails(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    other_key = workspace.keys["both"].current.public_key
    assert other_key is not None
    response = send_command(worker, ProbeAuditKey(public_key=other_key))
    assert response.error is not None
    assert response.error.code == InvalidKeyError.code


def test_checkpoint_of_another_key_is_refused(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    note = send_command(worker, SignCheckpoint(size=0, root=EMPTY_ROOT.hex())).text
    assert note is not None
    assert send_command(worker, AuditPublicKey(last_note=note)).error is None
    forged_note = note.replace("\n0\n", "\n1\n")
    response = send_command(worker, AuditPublicKey(last_note=forged_note))
    assert response.error is not None
    assert response.error.code == "audit"


def test_probe_of_missing_version_fails(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    response = send_command(worker, make_probe(workspace, "both", SigningAlgorithm.ED25519, version=2))
    assert response.error is not None


@pytest.mark.parametrize("kind", ["signing", "encryption"])
def test_probe_of_missing_key_files_fails(workspace: WorkerWorkspace, worker: WorkerProcess, kind: str) -> None:
    shutil.rmtree(workspace.paths.keys / "local")
    command = (
        ProbeEncryptionKey(key=CIPHER)
        if kind == "encryption"
        else make_probe(workspace, "both", SigningAlgorithm.ED25519)
    )
    response = send_command(worker, command)
    assert response.error is not None


def test_signing_job_rejects_probe_message(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    for key in ("both", "data"):
        end = worker.wait_for_end(workspace.signing(PREFIX + b"w1\n" + bytes(32), key=key))
        assert isinstance(end, JobFailed)
        assert end.error.code == InvalidKeyError.code
        assert "readiness probe" in end.error.message


def test_probe_command_carries_no_data() -> None:
    assert {each.name for each in msgspec.structs.fields(ProbeSigningKey)} == {"key", "certificate"}
    assert {each.name for each in msgspec.structs.fields(SigningKey)} == {
        *("algorithm", "uri", "version"),
        *("name", "description"),  # texts for display
    }


@pytest.mark.parametrize("algorithm", list(SigningAlgorithm), ids=str)
def test_probe_signer_signs_a_new_message(algorithm: SigningAlgorithm) -> None:
    private = private_key(SIGNATURES[algorithm].default_key_kind)
    certificate = create_self_signed(private, "probe", NOW).decode()
    signer = RecordingSigner(LocalSigner(private, algorithm, prehashed=False))
    for _ in range(2):
        asyncio.run(probe_signer(signer, algorithm, certificate, "w1"))
    first, second = signer.inputs
    assert first != second
    signs_message = SIGNATURES[algorithm].input == "MESSAGE"
    assert first.startswith(PREFIX + b"w1\n") is signs_message
    assert (len(first) == hashlib.sha256().digest_size) is not signs_message


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(1000)])
def test_probe_of_wrong_signature_fails(signature: bytes) -> None:
    private = private_key(KeyType.ED25519)
    certificate = create_self_signed(private, "probe", NOW).decode()
    signer = RecordingSigner(LocalSigner(private, SigningAlgorithm.ED25519, prehashed=False), signature=signature)
    with pytest.raises(InvalidKeyError, match="does not match the recorded certificate"):
        asyncio.run(probe_signer(signer, SigningAlgorithm.ED25519, certificate, "w1"))


@pytest.mark.parametrize("algorithm", list(EncryptionAlgorithm), ids=str)
def test_probe_cipher_round_trips(algorithm: EncryptionAlgorithm) -> None:
    asyncio.run(probe_cipher(AesCipher(algorithm, bytes(32 if "256" in algorithm else 16))))


def test_probe_of_inconsistent_cipher_fails() -> None:
    with pytest.raises(InvalidKeyError, match="does not return the original"):
        asyncio.run(probe_cipher(InconsistentCipher(EncryptionAlgorithm.AES128_CTR_NO_PAD)))
