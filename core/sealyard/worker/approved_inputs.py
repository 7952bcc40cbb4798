"""Read the inputs of a task, and reject inputs whose sizes and digests are not the approved ones."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
from typing import BinaryIO

from sealyard.crypto.digests import PrefixHash
from sealyard.model.errors import IntegrityError
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile
from sealyard.storage.artifacts import FileArtifacts


def open_input(artifacts: FileArtifacts, file: InputFile) -> BinaryIO:
    """Open an input and check its size. The caller must check the digest of the content that it reads.

    Raises :class:`IntegrityError` if the size is not the approved one, or the file was replaced by a link.
    """
    source = _open_inline(file) if file.inline is not None else artifacts.open_input(file.sha256)
    if source.seek(0, os.SEEK_END) != file.size:
        source.close()
        raise changed_error(file)
    source.seek(0)
    return source


def read_input(artifacts: FileArtifacts, file: InputFile) -> bytes:
    """Read a small input completely. Raises :class:`IntegrityError` if it is not the approved one."""
    with open_input(artifacts, file) as source:
        data = source.read(file.size + 1)
    check_digest(file, hashlib.sha256(data).hexdigest())
    return data


def check_digest(file: InputFile, sha256: str) -> None:
    """Raise :class:`IntegrityError` if ``sha256`` (hex), the digest of the content read, is not the approved one."""
    if sha256 != file.sha256:
        raise changed_error(file)


def changed_error(file: InputFile) -> IntegrityError:
    """Return the error for an input that is not the approved one."""
    return IntegrityError(
        f"{escape_text(file.name, 100)} was changed on disk: it is not the file that was uploaded and approved."
        " Nothing was signed.",
        "Check which programs can write to the workspace, then upload the file again and request a new task.",
    )


class ContentComparison:
    """Compares decrypted bytes with a stored input. Ignores zero padding after the end of the input."""

    def __init__(self, file: InputFile, source: BinaryIO) -> None:
        self._file = file
        self._source = source
        self._remaining = file.size
        self._is_equal = True
        self._buffer = bytearray()

    def update(self, chunk: memoryview) -> None:
        length = min(len(chunk), self._remaining)
        if len(self._buffer) != length:
            self._buffer = bytearray(length)
        bytes_read = self._source.readinto(self._buffer)  # type: ignore[attr-defined]
        # With the bytearray on the left, Python compares whole buffers instead of single items.
        self._is_equal = self._is_equal and bytes_read == length and self._buffer == chunk[:length]
        self._remaining -= length

    def check(self) -> None:
        """Raise :class:`IntegrityError` if a byte differs or is missing."""
        if self._remaining or not self._is_equal:
            raise changed_error(self._file)


class RecordedContent:
    """Hashes the decrypted content of a segment that an earlier worker recorded.

    :meth:`check` compares the digest with the approved one, because the earlier worker may have read another input.
    """

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._hash = PrefixHash(file.size)
        self.update = self._hash.update

    def check(self) -> None:
        """Raise :class:`IntegrityError` if the content is not the approved input."""
        check_digest(self._file, self._hash.hexdigest())


def _open_inline(file: InputFile) -> BinaryIO:
    assert file.inline is not None
    try:
        return io.BytesIO(base64.b64decode(file.inline, validate=True))
    except binascii.Error:
        raise changed_error(file) from None
