"""Interfaces of content ciphers, independent of where the key is stored, and of the source of their IVs."""

from __future__ import annotations

from typing import Protocol

from sealyard.model.algorithms import EncryptionAlgorithm


class CipherStream(Protocol):
    """Encryption or decryption of one stream, including its padding.

    ``update_into`` writes into ``out`` (at least ``len(data) + 16`` bytes) and returns the number of bytes written.
    ``finalize`` returns the remaining bytes; after it, ``update_into`` must not be called again.
    """

    def update_into(self, data: memoryview, out: memoryview) -> int: ...
    def finalize(self) -> bytes: ...


class ContentCipher(Protocol):
    """A content key bound to an encryption algorithm.

    The bytes of the key may be in this process, in another process, or in a hardware device.
    """

    @property
    def algorithm(self) -> EncryptionAlgorithm: ...

    def encryptor(self, iv: bytes) -> CipherStream: ...
    def decryptor(self, iv: bytes) -> CipherStream: ...


class RandomSource(Protocol):
    """Returns random bytes that an attacker cannot predict, such as IVs."""

    def __call__(self, name: str, length: int) -> bytes:
        """Return ``length`` bytes. The same name gives the same bytes; different names give independent ones."""
        ...
