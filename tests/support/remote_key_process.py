"""The other side of remote_provider.py: a process that holds keys in memory and answers one question a line.

No question is answered with key bytes: there is none that asks for them.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from sealyard.crypto.algorithms import CIPHERS, SIGNATURES, SigningInput
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.protocols import CipherStream
from sealyard.crypto.signatures import sign
from sealyard.keys.key_import import load_certificate_file, load_key
from sealyard.keys.material import Material, create_certificate, describe, generate_key
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.errors import ConflictError, InvalidKeyError, NotFoundError, SealyardError, UsageError
from sealyard.model.keys import KEY_NAME, KeyInfo, KeyVersion

Question = dict[str, Any]


class RemoteKeyProcess:
    def __init__(self) -> None:
        self._infos: dict[str, KeyInfo] = {}
        self._materials: dict[tuple[str, int], Material] = {}
        self._streams: list[CipherStream] = []

    def info(self, question: Question) -> KeyInfo:
        name = question["name"]
        if not KEY_NAME.fullmatch(name):
            raise UsageError("Invalid key name.")
        if name not in self._infos:
            raise NotFoundError("Key not found.")
        return self._infos[name]

    def generate(self, question: Question) -> KeyInfo:
        material = generate_key(KeyType(question["kind"]))
        return self._add(question, material, "generated", create_certificate(material, question["subject"]))

    def take(self, question: Question) -> KeyInfo:
        material, found = load_key(Path(question["path"]), KeyType(question["kind"]), question["password"])
        given = load_certificate_file(Path(question["certificate"])) if question["certificate"] else found
        certificate = create_certificate(material, question["name"]) if given is None else given
        return self._add(question, material, "imported", certificate)

    def rotate(self, question: Question) -> KeyVersion:
        info = self.info(question)
        material = generate_key(info.kind)
        version = describe(
            material, len(info.versions) + 1, "generated", create_certificate(material, "Gateway signing")
        )
        self._infos[question["name"]] = msgspec.structs.replace(info, versions=(*info.versions, version))
        self._materials[question["name"], version.version] = material
        return version

    def signer(self, question: Question) -> None:
        algorithm = SigningAlgorithm(question["algorithm"])
        if self.info(question).kind not in SIGNATURES[algorithm].key_kinds:
            raise InvalidKeyError("The key does not fit the algorithm.")
        self._material(question)

    def sign(self, question: Question) -> str:
        algorithm = SigningAlgorithm(question["algorithm"])
        material = self._material(question)
        assert not isinstance(material, bytes)
        prehashed = SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST
        data = base64.b64decode(question["data"])
        return base64.b64encode(sign(material, algorithm, data, prehashed=prehashed)).decode()

    def cipher(self, question: Question) -> None:
        if self.info(question).kind is not CIPHERS[EncryptionAlgorithm(question["algorithm"])].key_kind:
            raise InvalidKeyError("The key does not fit the algorithm.")
        self._material(question)

    def stream(self, question: Question) -> int:
        material = self._material(question)
        assert isinstance(material, bytes)
        cipher = AesCipher(EncryptionAlgorithm(question["algorithm"]), material)
        iv = base64.b64decode(question["iv"])
        self._streams.append(cipher.encryptor(iv) if question["encrypts"] else cipher.decryptor(iv))
        return len(self._streams) - 1

    def update(self, question: Question) -> str:
        data = base64.b64decode(question["data"])
        out = bytearray(len(data) + 16)
        length = self._streams[question["stream"]].update_into(memoryview(data), memoryview(out))
        return base64.b64encode(out[:length]).decode()

    def finalize(self, question: Question) -> str:
        return base64.b64encode(self._streams[question["stream"]].finalize()).decode()

    def _add(self, question: Question, material: Material, origin: str, certificate: bytes | None) -> KeyInfo:
        name = question["name"]
        if not KEY_NAME.fullmatch(name):
            raise UsageError("Invalid key name.")
        if name in self._infos:
            raise ConflictError("There is such a key already.")
        info = KeyInfo(
            uri=f"remote:{name}",
            kind=KeyType(question["kind"]),
            purpose=KeyPurpose(question["purpose"]),
            versions=(describe(material, 1, origin, certificate),),
        )
        self._infos[name] = info
        self._materials[name, 1] = material
        return info

    def _material(self, question: Question) -> Material:
        found = self._materials.get((question["name"], question["version"]))
        if found is None:
            raise NotFoundError("The key has no such version.")
        return found


QUESTIONS = ("info", "generate", "take", "rotate", "signer", "sign", "cipher", "stream", "update", "finalize")


def main() -> None:
    holder = RemoteKeyProcess()
    for line in sys.stdin:
        question = json.loads(line)
        assert question["ask"] in QUESTIONS
        try:
            answer: object = {"answer": getattr(holder, question["ask"])(question)}
        except SealyardError as error:
            answer = {"error": error.to_info()}
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
        sys.stdout.flush()


main()
