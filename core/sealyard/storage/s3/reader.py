"""Read an object as a file, over connections that may be lost."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from sealyard.model.errors import ArtifactStoreError, IntegrityError
from sealyard.storage.s3.errors import ObjectExistsError, ObjectMissingError

MAX_RESUMES = 3
"""Number of times that a lost connection is opened again without having received a byte."""


class ObjectReader(io.RawIOBase):
    """A file with the content of an object. If its connection is lost, it continues with another one.

    ``call``: see :meth:`sealyard.storage.s3.bucket.Bucket.call`. :meth:`readinto` raises :class:`ArtifactStoreError` if
    the store does not answer, and :class:`IntegrityError` if the object was replaced or deleted meanwhile.
    """

    def __init__(self, call: Callable[..., Mapping[str, Any]], place: str, key: str, size: int, etag: str) -> None:
        self._call = call
        self._place = place
        self._key = key
        self._size = size
        self._condition = {"IfMatch": etag} if etag else {}
        self._position = 0
        self._body: Any = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset != self._position:
            self._disconnect()
            self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size:
            return 0
        for _ in range(MAX_RESUMES + 1):
            chunk = self._read_some(min(len(buffer), self._size - self._position))
            if chunk:
                buffer[: len(chunk)] = chunk
                self._position += len(chunk)
                return len(chunk)
        raise ArtifactStoreError(f"{self._place} ended the connection several times.", "Check the network.")

    def close(self) -> None:
        self._disconnect()
        super().close()

    def _read_some(self, length: int) -> bytes:
        """Return the next bytes; none if the connection was lost."""
        if self._body is None:
            self._body = self._connect()
        try:
            chunk: bytes = self._body.read(length)
        except (BotoCoreError, HTTPError, OSError):
            chunk = b""
        if not chunk:
            self._disconnect()
        return chunk

    def _connect(self) -> Any:
        try:
            response = self._call(
                "get_object", "s3:GetObject", Key=self._key, Range=f"bytes={self._position}-", **self._condition
            )
        except (ObjectMissingError, ObjectExistsError):
            raise IntegrityError(
                "A stored file was replaced or removed in the object store while it was read.", "Try again."
            ) from None
        return response["Body"]

    def _disconnect(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
