"""Keys are proven by use, and what is made for that is worth nothing and goes nowhere."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from functools import cache

import msgspec
import pytest

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
from sealyard.model.worker_messages import (
    JobFailed,
    KeyCommand,
    KeyRequest,
    KeyResponse,
    ProbeEncryptionKey,
    ProbeSigningKey,
)
from sealyard.worker.key_probe import probe_cipher, probe_signer
from tests.support.worker_harness import CIPHER, NOW, WorkerProcess, WorkerWorkspace

PSS = SigningAlgorithm.SHA256_RSA_3072_PSS


@cache
def private_key(kind: KeyType) -> PrivateKey:
    """One of each kind for all tests: making one takes long."""
    made = generate_key(kind)
    assert not isinstance(made, bytes)
    return made


class Watched:
    """A signer that remembers what it was given, and answers something else where it is told to."""

    def __init__(self, signer: LocalSigner, instead: bytes | None = None) -> None:
        self.given: list[bytes] = []
        self._signer = signer
        self._instead = instead

    async def sign(self, data: bytes) -> bytes:
        self.given.append(data)
        return await self._signer.sign(data) if self._instead is None else self._instead


class Forgetful:
    """A cipher that decrypts with another key than it encrypts with."""

    def __init__(self, algorithm: EncryptionAlgorithm) -> None:
        self.algorithm = algorithm
        self._first, self._second = (AesCipher(algorithm, bytes([number]) * 16) for number in (1, 2))

    def encryptor(self, iv: bytes) -> CipherStream:
        return self._first.encryptor(iv)

    def decryptor(self, iv: bytes) -> CipherStream:
        return self._second.decryptor(iv)


def prove(
    house: WorkerWorkspace, key: str, algorithm: SigningAlgorithm, *, on_record: str = "", version: int = 1
) -> KeyCommand:
    certificate = house.keys[on_record or key].current.certificate
    assert certificate is not None
    signing = SigningKey(algorithm=algorithm, uri=f"local:{key}", version=version)
    return ProbeSigningKey(key=signing, certificate=certificate)


def answered(worker: WorkerProcess, question: KeyCommand) -> KeyResponse:
    worker.send(KeyRequest(request_id=1, command=question))
    return worker.next(KeyResponse)


def test_every_key_is_proven_whatever_it_is_for_and_nothing_leaves(
    house: WorkerWorkspace, worker: WorkerProcess
) -> None:
    questions = [
        *(prove(house, each, SigningAlgorithm.ED25519) for each in ("both", "packages", "data")),
        *(prove(house, each, PSS) for each in ("rsa-both", "rsa-data")),
        ProbeEncryptionKey(key=CIPHER),
    ]
    for question in questions:
        assert answered(worker, question) == KeyResponse(request_id=1)
    assert not house.intents


def test_a_key_that_is_not_the_one_on_record_is_told(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    answer = answered(worker, prove(house, "both", SigningAlgorithm.ED25519, on_record="data"))
    assert answer.error is not None
    assert answer.error.code == InvalidKeyError.code
    assert "does not match the recorded certificate" in answer.error.message


def test_a_version_that_is_not_there_is_told(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    answer = answered(worker, prove(house, "both", SigningAlgorithm.ED25519, version=2))
    assert answer.error is not None


@pytest.mark.parametrize("kind", ["signing", "encryption"])
def test_a_key_whose_files_are_gone_is_told(house: WorkerWorkspace, worker: WorkerProcess, kind: str) -> None:
    shutil.rmtree(house.places.keys / "local")
    question = (
        ProbeEncryptionKey(key=CIPHER) if kind == "encryption" else prove(house, "both", SigningAlgorithm.ED25519)
    )
    answer = answered(worker, question)
    assert answer.error is not None


def test_a_signing_task_never_signs_what_begins_like_a_probe(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    for key in ("both", "data"):
        end = worker.wait_for_end(house.signing(PREFIX + b"w1\n" + bytes(32), key=key))
        assert isinstance(end, JobFailed)
        assert end.error.code == InvalidKeyError.code
        assert "readiness probe" in end.error.message


def test_nobody_who_asks_has_a_say_in_what_is_signed() -> None:
    assert {each.name for each in msgspec.structs.fields(ProbeSigningKey)} == {"key", "certificate"}
    assert {each.name for each in msgspec.structs.fields(SigningKey)} == {
        *("algorithm", "uri", "version"),
        *("name", "description"),  # texts for display
    }


@pytest.mark.parametrize("algorithm", list(SigningAlgorithm), ids=str)
def test_what_is_signed_is_a_fresh_probe_as_the_algorithm_takes_it(algorithm: SigningAlgorithm) -> None:
    private = private_key(SIGNATURES[algorithm].default_key_kind)
    certificate = create_self_signed(private, "probe", NOW).decode()
    signer = Watched(LocalSigner(private, algorithm))
    for _ in range(2):
        asyncio.run(probe_signer(signer, algorithm, certificate, "w1"))
    first, second = signer.given
    assert first != second
    takes_message = SIGNATURES[algorithm].input == "MESSAGE"
    assert first.startswith(PREFIX + b"w1\n") is takes_message
    assert (len(first) == hashlib.sha256().digest_size) is not takes_message


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(1000)])
def test_a_signer_that_answers_anything_else_proves_nothing(signature: bytes) -> None:
    private = private_key(KeyType.ED25519)
    certificate = create_self_signed(private, "probe", NOW).decode()
    signer = Watched(LocalSigner(private, SigningAlgorithm.ED25519), instead=signature)
    with pytest.raises(InvalidKeyError, match="does not match the recorded certificate"):
        asyncio.run(probe_signer(signer, SigningAlgorithm.ED25519, certificate, "w1"))


@pytest.mark.parametrize("algorithm", list(EncryptionAlgorithm), ids=str)
def test_a_content_key_is_proven_by_a_block_there_and_back(algorithm: EncryptionAlgorithm) -> None:
    asyncio.run(probe_cipher(AesCipher(algorithm, bytes(32 if "256" in algorithm else 16))))


def test_a_cipher_that_does_not_decrypt_what_it_encrypts_proves_nothing() -> None:
    with pytest.raises(InvalidKeyError, match="does not return the original"):
        asyncio.run(probe_cipher(Forgetful(EncryptionAlgorithm.AES128_CTR_NO_PAD)))
