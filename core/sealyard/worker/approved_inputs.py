"""The inputs of a task, accepted only with the sizes and digests that were approved."""

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
    """Open an input. Its size is checked; the caller checks the digest of what it reads.

    Raises :class:`IntegrityError` if the size differs or the file was replaced by a link.
    """
    source = _inline(file) if file.inline is not None else artifacts.open_input(file.sha256)
    if source.seek(0, os.SEEK_END) != file.size:
        source.close()
        raise changed(file)
    source.seek(0)
    return source


def read_input(artifacts: FileArtifacts, file: InputFile) -> bytes:
    """Read a small input whole. Raises :class:`IntegrityError` if it is not what was approved."""
    with open_input(artifacts, file) as source:
        data = source.read(file.size + 1)
    check_digest(file, hashlib.sha256(data).hexdigest())
    return data


def check_digest(file: InputFile, sha256: str) -> None:
    """Raises :class:`IntegrityError` if ``sha256`` (hex), of what was read, is not the approved digest."""
    if sha256 != file.sha256:
        raise changed(file)


def changed(file: InputFile) -> IntegrityError:
    return IntegrityError(
        f"{escape_text(file.name, 100)} was changed on disk: it is not the file that was uploaded and approved."
        " Nothing was signed.",
        "Check which programs can write to the workspace, then upload the file again and request a new task.",
    )


class ContentComparison:
    """Compares bytes with an input as it is stored; what follows them, zero padding, is ignored."""

    def __init__(self, file: InputFile, source: BinaryIO) -> None:
        self._file = file
        self._source = source
        self._left = file.size
        self._same = True
        self._buffer = bytearray()

    def update(self, piece: memoryview) -> None:
        count = min(len(piece), self._left)
        if len(self._buffer) != count:
            self._buffer = bytearray(count)
        read = self._source.readinto(self._buffer)  # type: ignore[attr-defined]
        # On the left, so that the comparison is one of whole buffers.
        self._same = self._same and read == count and self._buffer == piece[:count]
        self._left -= count

    def check(self) -> None:
        """Raises :class:`IntegrityError` if a byte was another one or is missing."""
        if self._left or not self._same:
            raise changed(self._file)


class KeptContent:
    """Hashes what a recorded segment decrypts to: the worker that recorded it may have read another input."""

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._hash = PrefixHash(file.size)
        self.update = self._hash.update

    def check(self) -> None:
        """Raises :class:`IntegrityError` if it is not the approved input."""
        check_digest(self._file, self._hash.hexdigest())


def _inline(file: InputFile) -> BinaryIO:
    assert file.inline is not None
    try:
        return io.BytesIO(base64.b64decode(file.inline, validate=True))
    except binascii.Error:
        raise changed(file) from None
