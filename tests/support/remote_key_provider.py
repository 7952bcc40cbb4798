"""A key provider whose keys are in another process. It shows that the provider interface needs no key bytes here."""

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
from sealyard.model.keys import KeyCapabilities, KeyInfo, KeyVersion
from tests.support.limits import TIMEOUT
from tests.support.processes import killed_at_exit


class RemoteKeys:
    def __init__(self) -> None:
        script = Path(__file__).with_name("remote_key_process.py")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.received: list[str] = []

    async def close(self) -> None:
        with killed_at_exit(self._process):
            self._process.communicate(timeout=TIMEOUT)

    def request(self, method: str, **values: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"method": method, **values}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        self.received.append(line)
        response = json.loads(line)
        if "error" in response:
            raise error_from_info(msgspec.convert(response["error"], ErrorInfo))
        return response["result"]

    async def probe(self) -> None:
        assert self._process.poll() is None

    async def get_capabilities(self, name: str) -> KeyCapabilities:
        return msgspec.convert(self.request("get_capabilities", name=name), KeyCapabilities)

    async def register(self, name: str, kind: KeyType, purpose: KeyPurpose, certificate: bytes | None) -> KeyInfo:
        self.request("info", name=name)
        raise InvalidKeyError("This process has no keys of other programs.", "Generate the key, or import it.")

    async def get_info(self, name: str) -> KeyInfo:
        return msgspec.convert(self.request("info", name=name), KeyInfo)

    async def generate(self, name: str, kind: KeyType, purpose: KeyPurpose, subject: str) -> KeyInfo:
        info = self.request("generate", name=name, kind=kind, purpose=purpose, subject=subject)
        return msgspec.convert(info, KeyInfo)

    async def import_key(
        self,
        name: str,
        content: bytes,
        kind: KeyType,
        purpose: KeyPurpose,
        password: str | None,
        certificate: bytes | None,
    ) -> KeyInfo:
        info = self.request(
            "import_key",
            name=name,
            content=base64.b64encode(content).decode(),
            kind=kind,
            purpose=purpose,
            password=password,
            certificate=base64.b64encode(certificate).decode() if certificate is not None else None,
        )
        return msgspec.convert(info, KeyInfo)

    async def rotate(self, name: str) -> KeyVersion:
        return msgspec.convert(self.request("rotate", name=name), KeyVersion)

    async def import_certificate(self, name: str, version: int, content: bytes) -> KeyVersion:
        encoded = base64.b64encode(content).decode()
        return msgspec.convert(
            self.request("import_certificate", name=name, version=version, content=encoded), KeyVersion
        )

    async def create_certificate_request(self, name: str, version: int) -> str:
        return str(self.request("create_certificate_request", name=name, version=version))

    async def signer(self, name: str, version: int, algorithm: SigningAlgorithm, *, prehashed: bool = False) -> Signer:
        self.request("signer", name=name, version=version, algorithm=algorithm, prehashed=prehashed)
        return RemoteSigner(self, name=name, version=version, algorithm=algorithm, prehashed=prehashed)

    async def cipher(self, name: str, version: int, algorithm: EncryptionAlgorithm) -> ContentCipher:
        self.request("cipher", name=name, version=version, algorithm=algorithm)
        return RemoteCipher(self, name=name, version=version, algorithm=algorithm)

    async def wrap(self, name: str, version: int, secret: bytes, associated_data: bytes) -> bytes:
        return self._wrap("wrap", name, version, secret, associated_data)

    async def unwrap(self, name: str, version: int, wrapped: bytes, associated_data: bytes) -> bytes:
        return self._wrap("unwrap", name, version, wrapped, associated_data)

    def _wrap(self, method: str, name: str, version: int, data: bytes, associated_data: bytes) -> bytes:
        encoded, encoded_context = base64.b64encode(data).decode(), base64.b64encode(associated_data).decode()
        result = self.request(method, name=name, version=version, data=encoded, associated_data=encoded_context)
        return base64.b64decode(result)

    async def export_symmetric(self, name: str, version: int) -> bytes:
        self.request("info", name=name)
        raise InvalidKeyError("This key never leaves its process.", "Provide the key to the devices by other means.")


class RemoteSigner:
    def __init__(self, keys: RemoteKeys, **key: object) -> None:
        self._keys, self._key = keys, key

    async def sign(self, data: bytes) -> bytes:
        return base64.b64decode(self._keys.request("sign", data=base64.b64encode(data).decode(), **self._key))


class RemoteCipher:
    def __init__(self, keys: RemoteKeys, *, algorithm: EncryptionAlgorithm, **key: object) -> None:
        self.algorithm = algorithm
        self._keys, self._key = keys, {**key, "algorithm": algorithm}

    def encryptor(self, iv: bytes) -> CipherStream:
        return self._stream(iv, encrypts=True)

    def decryptor(self, iv: bytes) -> CipherStream:
        return self._stream(iv, encrypts=False)

    def _stream(self, iv: bytes, *, encrypts: bool) -> CipherStream:
        number = self._keys.request("stream", iv=base64.b64encode(iv).decode(), encrypts=encrypts, **self._key)
        return RemoteStream(self._keys, number)


class RemoteStream:
    def __init__(self, keys: RemoteKeys, number: int) -> None:
        self._keys, self._number = keys, number

    def update_into(self, data: memoryview, out: memoryview) -> int:
        encoded = base64.b64encode(data).decode()
        result = base64.b64decode(self._keys.request("update", stream=self._number, data=encoded))
        out[: len(result)] = result
        return len(result)

    def finalize(self) -> bytes:
        return base64.b64decode(self._keys.request("finalize", stream=self._number))
