"""A key provider whose keys live in another process: the proof that the seam needs no key bytes on this side."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from sealyard.crypto.protocols import CipherStream, ContentCipher
from sealyard.keys.provider import Signer
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.errors import ErrorInfo, InvalidKeyError, error_from_info
from sealyard.model.keys import KeyInfo, KeyVersion
from tests.support.processes import killed_at_exit

CLOSE_SECONDS = 30.0


class RemoteKeys:
    def __init__(self) -> None:
        script = Path(__file__).with_name("remote_key_process.py")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.received: list[str] = []

    def close(self) -> None:
        with killed_at_exit(self._process):
            self._process.communicate(timeout=CLOSE_SECONDS)

    def ask(self, ask: str, **values: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"ask": ask, **values}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        self.received.append(line)
        answer = json.loads(line)
        if "error" in answer:
            raise error_from_info(msgspec.convert(answer["error"], ErrorInfo))
        return answer["answer"]

    async def get_info(self, name: str) -> KeyInfo:
        return msgspec.convert(self.ask("info", name=name), KeyInfo)

    async def generate(self, name: str, kind: KeyType, purpose: KeyPurpose, subject: str) -> KeyInfo:
        made = self.ask("generate", name=name, kind=kind, purpose=purpose, subject=subject)
        return msgspec.convert(made, KeyInfo)

    async def import_key(
        self,
        name: str,
        path: Path,
        kind: KeyType,
        purpose: KeyPurpose,
        password: str | None,
        certificate: Path | None,
    ) -> KeyInfo:
        taken = self.ask(
            "take",
            name=name,
            path=str(path),
            kind=kind,
            purpose=purpose,
            password=password,
            certificate=str(certificate) if certificate else None,
        )
        return msgspec.convert(taken, KeyInfo)

    async def rotate(self, name: str) -> KeyVersion:
        return msgspec.convert(self.ask("rotate", name=name), KeyVersion)

    async def signer(self, name: str, version: int, algorithm: SigningAlgorithm) -> Signer:
        self.ask("signer", name=name, version=version, algorithm=algorithm)
        return RemoteSigner(self, name=name, version=version, algorithm=algorithm)

    async def cipher(self, name: str, version: int, algorithm: EncryptionAlgorithm) -> ContentCipher:
        self.ask("cipher", name=name, version=version, algorithm=algorithm)
        return RemoteCipher(self, name=name, version=version, algorithm=algorithm)

    async def export_symmetric(self, name: str, version: int) -> bytes:
        self.ask("info", name=name)
        raise InvalidKeyError("This key never leaves its process.", "Let the devices get their key elsewhere.")


class RemoteSigner:
    def __init__(self, keys: RemoteKeys, **key: object) -> None:
        self._keys, self._key = keys, key

    async def sign(self, data: bytes) -> bytes:
        return base64.b64decode(self._keys.ask("sign", data=base64.b64encode(data).decode(), **self._key))


class RemoteCipher:
    def __init__(self, keys: RemoteKeys, *, algorithm: EncryptionAlgorithm, **key: object) -> None:
        self.algorithm = algorithm
        self._keys, self._key = keys, {**key, "algorithm": algorithm}

    def encryptor(self, iv: bytes) -> CipherStream:
        return self._stream(iv, encrypts=True)

    def decryptor(self, iv: bytes) -> CipherStream:
        return self._stream(iv, encrypts=False)

    def _stream(self, iv: bytes, *, encrypts: bool) -> CipherStream:
        number = self._keys.ask("stream", iv=base64.b64encode(iv).decode(), encrypts=encrypts, **self._key)
        return RemoteStream(self._keys, number)


class RemoteStream:
    def __init__(self, keys: RemoteKeys, number: int) -> None:
        self._keys, self._number = keys, number

    def update_into(self, data: memoryview, out: memoryview) -> int:
        sent = base64.b64encode(data).decode()
        done = base64.b64decode(self._keys.ask("update", stream=self._number, data=sent))
        out[: len(done)] = done
        return len(done)

    def finalize(self) -> bytes:
        return base64.b64decode(self._keys.ask("finalize", stream=self._number))
