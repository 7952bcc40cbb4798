"""The process of ``remote_key_provider.py``: it keeps keys in memory and answers one request per line.

No response contains key bytes, because no request asks for them.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from sealyard.crypto.algorithms import CIPHERS, SIGNATURES, SigningInput
from sealyard.crypto.certificates import create_certificate_request
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.protocols import CipherStream
from sealyard.crypto.signatures import PrivateKey, sign
from sealyard.keys.capabilities import describe_capabilities
from sealyard.keys.key_import import load_certificate_of, load_key
from sealyard.keys.material import Material, create_certificate, describe, generate_key
from sealyard.keys.wrapping import unwrap_secret, wrap_secret
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.errors import AlreadyExistsError, InvalidKeyError, NotFoundError, SealyardError, UsageError
from sealyard.model.key_uris import KEY_NAME
from sealyard.model.keys import KeyCapabilities, KeyInfo, KeyVersion

Request = dict[str, Any]


class RemoteKeyProcess:
    def __init__(self) -> None:
        self._infos: dict[str, KeyInfo] = {}
        self._materials: dict[tuple[str, int], Material] = {}
        self._streams: list[CipherStream] = []

    def info(self, request: Request) -> KeyInfo:
        name = request["name"]
        if not KEY_NAME.fullmatch(name):
            raise UsageError("Invalid key name.")
        if name not in self._infos:
            raise NotFoundError("Key not found.")
        return self._infos[name]

    def generate(self, request: Request) -> KeyInfo:
        material = generate_key(KeyType(request["kind"]))
        return self._add(request, material, "generated", create_certificate(material, request["subject"]))

    def import_key(self, request: Request) -> KeyInfo:
        certificate_content = base64.b64decode(request["certificate"]) if request["certificate"] else None
        material, certificate = load_key(
            base64.b64decode(request["content"]), KeyType(request["kind"]), request["password"], certificate_content
        )
        if certificate is None:
            certificate = create_certificate(material, request["name"])
        return self._add(request, material, "imported", certificate)

    def rotate(self, request: Request) -> KeyVersion:
        info = self.info(request)
        material = generate_key(info.kind)
        version = describe(
            material, len(info.versions) + 1, "generated", create_certificate(material, "Gateway signing")
        )
        self._infos[request["name"]] = msgspec.structs.replace(info, versions=(*info.versions, version))
        self._materials[request["name"], version.version] = material
        return version

    def import_certificate(self, request: Request) -> KeyVersion:
        info, key = self.info(request), self._private_key(request)
        certificate = load_certificate_of(key.public_key(), base64.b64decode(request["content"]))
        version = describe(key, len(info.versions) + 1, "renewed", certificate)
        if version.certificate_chain == info.current.certificate_chain:
            return info.current
        self._infos[request["name"]] = msgspec.structs.replace(info, versions=(*info.versions, version))
        self._materials[request["name"], version.version] = key
        return version

    def create_certificate_request(self, request: Request) -> str:
        info, key = self.info(request), self._private_key(request)
        return create_certificate_request(key, info.versions[request["version"] - 1].certificate or "")

    def get_capabilities(self, request: Request) -> KeyCapabilities:
        return msgspec.structs.replace(describe_capabilities(self.info(request).kind), can_export=False)

    def wrap(self, request: Request) -> str:
        return base64.b64encode(self._wrap(request, wrap_secret)).decode()

    def unwrap(self, request: Request) -> str:
        return base64.b64encode(self._wrap(request, unwrap_secret)).decode()

    def _wrap(self, request: Request, operation: Callable[[bytes, bytes, bytes], bytes]) -> bytes:
        if self.info(request).kind is not KeyType.AES_256:
            raise InvalidKeyError("The key cannot wrap secrets.")
        key = self._material(request)
        assert isinstance(key, bytes)
        return operation(key, base64.b64decode(request["data"]), base64.b64decode(request["associated_data"]))

    def signer(self, request: Request) -> None:
        algorithm = SigningAlgorithm(request["algorithm"])
        if self.info(request).kind not in SIGNATURES[algorithm].key_kinds:
            raise InvalidKeyError("The key does not fit the algorithm.")
        if request["prehashed"] and SIGNATURES[algorithm].hash is None:
            raise InvalidKeyError("The algorithm does not take a digest.")
        self._material(request)

    def sign(self, request: Request) -> str:
        algorithm = SigningAlgorithm(request["algorithm"])
        material = self._material(request)
        assert not isinstance(material, bytes)
        prehashed = request["prehashed"] or SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST
        data = base64.b64decode(request["data"])
        return base64.b64encode(sign(material, algorithm, data, prehashed=prehashed)).decode()

    def cipher(self, request: Request) -> None:
        if self.info(request).kind is not CIPHERS[EncryptionAlgorithm(request["algorithm"])].key_kind:
            raise InvalidKeyError("The key does not fit the algorithm.")
        self._material(request)

    def stream(self, request: Request) -> int:
        material = self._material(request)
        assert isinstance(material, bytes)
        cipher = AesCipher(EncryptionAlgorithm(request["algorithm"]), material)
        iv = base64.b64decode(request["iv"])
        self._streams.append(cipher.encryptor(iv) if request["encrypts"] else cipher.decryptor(iv))
        return len(self._streams) - 1

    def update(self, request: Request) -> str:
        data = base64.b64decode(request["data"])
        out = bytearray(len(data) + 16)
        length = self._streams[request["stream"]].update_into(memoryview(data), memoryview(out))
        return base64.b64encode(out[:length]).decode()

    def finalize(self, request: Request) -> str:
        return base64.b64encode(self._streams[request["stream"]].finalize()).decode()

    def _add(self, request: Request, material: Material, origin: str, certificate: bytes | None) -> KeyInfo:
        name = request["name"]
        if not KEY_NAME.fullmatch(name):
            raise UsageError("Invalid key name.")
        if name in self._infos:
            raise AlreadyExistsError("The key already exists.")
        info = KeyInfo(
            uri=f"remote:{name}",
            kind=KeyType(request["kind"]),
            purpose=KeyPurpose(request["purpose"]),
            versions=(describe(material, 1, origin, certificate),),
        )
        self._infos[name] = info
        self._materials[name, 1] = material
        return info

    def _private_key(self, request: Request) -> PrivateKey:
        key = self._material(request)
        if isinstance(key, bytes):
            raise InvalidKeyError("A symmetric key has no certificate.")
        return key

    def _material(self, request: Request) -> Material:
        material = self._materials.get((request["name"], request["version"]))
        if material is None:
            raise NotFoundError("The key has no such version.")
        return material


METHODS = (
    "info",
    "get_capabilities",
    "wrap",
    "unwrap",
    "generate",
    "import_key",
    "rotate",
    "import_certificate",
    "create_certificate_request",
    "signer",
    "sign",
    "cipher",
    "stream",
    "update",
    "finalize",
)


def main() -> None:
    keys = RemoteKeyProcess()
    for line in sys.stdin:
        request = json.loads(line)
        assert request["method"] in METHODS
        try:
            response: object = {"result": getattr(keys, request["method"])(request)}
        except SealyardError as error:
            response = {"error": error.to_info()}
        sys.stdout.write(msgspec.json.encode(response).decode() + "\n")
        sys.stdout.flush()


main()
