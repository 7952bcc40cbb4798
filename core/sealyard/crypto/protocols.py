"""What a cipher looks like to those who move bytes through it, wherever the key lives."""

from __future__ import annotations

from typing import Protocol

from sealyard.model.algorithms import EncryptionAlgorithm


class CipherStream(Protocol):
    """One direction of one cipher over one stream, padding included.

    ``update_into`` writes into ``out`` (at least ``len(data) + 16`` bytes) and says how many; ``finalize``
    gives the rest. Nothing can be fed after ``finalize``.
    """

    def update_into(self, data: memoryview, out: memoryview) -> int: ...
    def finalize(self) -> bytes: ...


class ContentCipher(Protocol):
    """A content key in use: its bytes may be in this process, in another one, or in a device."""

    @property
    def algorithm(self) -> EncryptionAlgorithm: ...

    def encryptor(self, iv: bytes) -> CipherStream: ...
    def decryptor(self, iv: bytes) -> CipherStream: ...
