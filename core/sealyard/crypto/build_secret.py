"""The build secret of a task: the source of the random bytes in its result, so that all attempts write the same bytes.

IVs are outputs of HKDF-Expand (RFC 5869, section 2.3) with SHA-256: unpredictable without the secret, and independent
of each other if their names differ.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

BUILD_SECRET_LENGTH = 32

_MAC_KEY_LENGTH = 32


class BuildSecret:
    """Derives the random bytes of one result in one format, and the key that authenticates the records about it.

    Raises :class:`ValueError` if the secret has the wrong length or ``format_name`` contains a separator.
    """

    def __init__(self, value: bytes, format_name: str) -> None:
        if len(value) != BUILD_SECRET_LENGTH:
            raise ValueError(f"a build secret has {BUILD_SECRET_LENGTH} bytes")
        if "|" in format_name:
            raise ValueError("the name of a format must not contain '|'")
        self.value = value
        self._format_name = format_name
        self._mac_key = self._expand(f"sealyard/records/1|{format_name}", _MAC_KEY_LENGTH)

    @classmethod
    def generate(cls, format_name: str) -> Self:
        return cls(secrets.token_bytes(BUILD_SECRET_LENGTH), format_name)

    def random(self, name: str, length: int) -> bytes:
        """Return the random bytes called ``name``; see :class:`sealyard.crypto.protocols.RandomSource`."""
        return self._expand(f"sealyard/build/1|{self._format_name}|{name}", length) if length else b""

    def authenticate(self, record: bytes) -> str:
        """Return the HMAC-SHA256 (hex) of a record."""
        return hmac.digest(self._mac_key, record, "sha256").hex()

    def is_authentic(self, record: bytes, mac: str) -> bool:
        """Return whether ``mac`` is the result of :meth:`authenticate` for this record."""
        return hmac.compare_digest(self.authenticate(record).encode(), mac.encode())

    def _expand(self, info: str, length: int) -> bytes:
        return HKDFExpand(SHA256(), length, info.encode()).derive(self.value)
