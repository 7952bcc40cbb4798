"""se-1, the default packaging of the S&E service: header, encrypted segments, signature of the header.

What it does not do: it holds no version of the firmware, so nothing protects from replay or rollback, and its
metadata is signed but not encrypted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, ClassVar

from sealyard.containers import ustar
from sealyard.containers.format import PackageLayout, Verification
from sealyard.containers.se1.header import (
    MAGIC,
    MAX_METADATA,
    MAX_SEGMENT_LENGTH,
    MAX_SEGMENTS,
    encode_header,
    header_length,
    parse_header,
)
from sealyard.crypto.algorithms import BLOCK_LENGTH, CIPHERS, SIGNATURES, Padding, encrypted_length
from sealyard.crypto.pipeline import Consumer, Progress, write_all
from sealyard.crypto.protocols import ContentCipher
from sealyard.crypto.segments import encrypt_segment, read_segment
from sealyard.model.algorithms import EncryptionAlgorithm
from sealyard.model.errors import FormatLimitError, InvalidInputError, InvalidKeyError
from sealyard.model.safe_text import escape_text
from sealyard.model.worker_messages import RecordedSegment, SealedSegment

_SE2_HINT = "The format se-2 will hold more."


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _nothing(_: int) -> None:
    return None


class SE1Format:
    """A :class:`~sealyard.containers.format.ContainerFormat`. ``now`` judges the validity of certificates."""

    name: ClassVar[str] = "se-1"
    magic: ClassVar[bytes] = MAGIC

    def __init__(self, now: Callable[[], datetime] = _utc_now) -> None:
        self._now = now

    def check(self, shape: PackageLayout) -> tuple[str, ...]:
        """Also raises :class:`InvalidKeyError` where the signing key does not fit its algorithm."""
        _check_signing_key(shape)
        _check_segments(shape)
        _check_metadata(shape)
        return _padding_warnings(shape)

    def encrypt_segment(
        self,
        shape: PackageLayout,
        index: int,
        source: BinaryIO,
        target: BinaryIO,
        cipher: ContentCipher,
        progress: Progress,
    ) -> RecordedSegment:
        """Flushes ``target`` but does not sync it. ``progress`` counts the bytes of the plaintext."""
        _check_cipher(shape, cipher)
        _, size = shape.firmware[index]
        target.seek(_offset(shape, index))
        made = encrypt_segment(source, size, target, cipher, progress)
        return RecordedSegment(
            index=index, length=made.length, sha256=made.sha256, plaintext_sha256=made.plaintext_sha256
        )

    def segment_matches(
        self, shape: PackageLayout, segment: SealedSegment, target: BinaryIO, progress: Progress
    ) -> bool:
        """``progress`` counts the bytes of the segment."""
        if segment.length != _segment_length(shape, segment.index):
            return False
        digest = hashlib.sha256()
        target.seek(_offset(shape, segment.index))
        try:
            read_segment(target, segment.length, [digest.update], progress)
        except InvalidInputError:
            return False
        return digest.hexdigest() == segment.sha256

    def header(
        self, shape: PackageLayout, segments: Sequence[SealedSegment], metadata: Sequence[tuple[str, bytes]]
    ) -> bytes:
        """Raises :class:`InvalidInputError` where segments or metadata are not those of the shape."""
        self.check(shape)
        expected = [(index, _segment_length(shape, index)) for index in range(len(shape.firmware))]
        if [(segment.index, segment.length) for segment in segments] != expected:
            raise InvalidInputError("The sealed segments are not those of this package.")
        if tuple((name, len(content)) for name, content in metadata) != shape.metadata:
            raise InvalidInputError("The metadata files are not those of this package.", "Upload them again.")
        return encode_header(shape.encryption, shape.signing, segments, _joined(metadata))

    def check_contents(
        self,
        header: bytes,
        source: BinaryIO,
        cipher: ContentCipher,
        contents: Sequence[Consumer],
        progress: Progress,
    ) -> hashlib._Hash:
        """``progress`` counts the bytes of the segments."""
        from sealyard.containers.se1.reader import check_contents

        return check_contents(header, source, cipher, contents, progress)

    def write_signature(self, shape: PackageLayout, target: BinaryIO, header: bytes, signature: bytes) -> None:
        """Flushes ``target`` but does not sync it."""
        target.seek(0)
        write_all(target, memoryview(header))
        target.seek(_offset(shape, len(shape.firmware)))
        write_all(target, memoryview(signature))
        target.truncate()
        target.flush()

    def encryption_of(self, source: BinaryIO) -> EncryptionAlgorithm:
        return parse_header(source).encryption

    def check_signature(self, source: BinaryIO, certificate: bytes) -> None:
        from sealyard.containers.se1.reader import SE1Reader

        SE1Reader(source, certificate, self._now(), strict=False)

    def verify(
        self, source: BinaryIO, certificate: bytes, *, strict: bool = False, progress: Progress | None = None
    ) -> Verification:
        """``progress`` counts the bytes of the segments."""
        from sealyard.containers.se1.reader import SE1Reader

        return SE1Reader(source, certificate, self._now(), strict=strict).verify(progress or _nothing)

    def extract(
        self,
        source: BinaryIO,
        certificate: bytes,
        cipher: ContentCipher,
        target: Path,
        *,
        strict: bool = False,
        split_metadata: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Path, ...]:
        """``progress`` counts the bytes of the segments twice: they are verified, then decrypted."""
        from sealyard.containers.se1.reader import SE1Reader

        reader = SE1Reader(source, certificate, self._now(), strict=strict)
        return reader.extract(cipher, target, split_metadata, progress or _nothing)

    def verify_digests(
        self,
        source: BinaryIO,
        certificate: bytes,
        cipher: ContentCipher,
        sizes: Sequence[int],
        progress: Progress | None = None,
    ) -> tuple[Verification, tuple[str, ...]]:
        """``progress`` counts the bytes of the segments."""
        from sealyard.containers.se1.reader import SE1Reader

        return SE1Reader(source, certificate, self._now(), strict=False).verify_digests(
            cipher, sizes, progress or _nothing
        )


def _segment_length(shape: PackageLayout, index: int) -> int:
    _, size = shape.firmware[index]
    return encrypted_length(shape.encryption, size) + CIPHERS[shape.encryption].iv_length


def _offset(shape: PackageLayout, index: int) -> int:
    before = sum(_segment_length(shape, earlier) for earlier in range(index))
    return header_length(len(shape.firmware), _metadata_length(shape)) + before


def _metadata_length(shape: PackageLayout) -> int:
    if len(shape.metadata) > 1:
        return ustar.packed_size(shape.metadata)
    return sum(size for _, size in shape.metadata)


def _joined(metadata: Sequence[tuple[str, bytes]]) -> bytes:
    if len(metadata) > 1:
        return ustar.pack(metadata)
    return b"".join(content for _, content in metadata)


def _check_signing_key(shape: PackageLayout) -> None:
    accepted = SIGNATURES[shape.signing].key_kinds
    if shape.signing_key_kind not in accepted:
        raise InvalidKeyError(
            f"{shape.signing} does not take a key of the kind {shape.signing_key_kind}.",
            f"It takes {' or '.join(accepted)}.",
        )


def _check_cipher(shape: PackageLayout, cipher: ContentCipher) -> None:
    if cipher.algorithm != shape.encryption:
        raise InvalidKeyError(f"The key is for {cipher.algorithm}; the package wants {shape.encryption}.")


def _check_segments(shape: PackageLayout) -> None:
    count = len(shape.firmware)
    if not count:
        raise FormatLimitError("A package needs a firmware file.", "Add one.")
    if count > MAX_SEGMENTS:
        raise FormatLimitError(f"se-1 holds at most {MAX_SEGMENTS} files; these are {count}.", _SE2_HINT)
    for index, (name, size) in enumerate(shape.firmware):
        if size < 1:
            raise FormatLimitError(f"{escape_text(name)} is empty.", "Leave it out.")
        if _segment_length(shape, index) > MAX_SEGMENT_LENGTH:
            raise FormatLimitError(
                f"{escape_text(name)} has {size} bytes; with padding and IV, se-1 holds at most"
                f" {MAX_SEGMENT_LENGTH} a file.",
                _SE2_HINT,
            )


def _check_metadata(shape: PackageLayout) -> None:
    length = _metadata_length(shape)
    if shape.metadata and not length:
        raise FormatLimitError("The metadata file is empty, which se-1 cannot tell from no metadata.", "Leave it out.")
    if length > MAX_METADATA:
        raise FormatLimitError(
            f"The metadata has {length} bytes{' as a bundle' if len(shape.metadata) > 1 else ''};"
            f" se-1 holds at most {MAX_METADATA}.",
            _SE2_HINT,
        )


def _padding_warnings(shape: PackageLayout) -> tuple[str, ...]:
    if CIPHERS[shape.encryption].padding is not Padding.ZERO:
        return ()
    return tuple(
        f"{escape_text(name)} is no multiple of {BLOCK_LENGTH} bytes: {shape.encryption} adds"
        f" {-size % BLOCK_LENGTH} zero bytes that stay when the container is opened."
        for name, size in shape.firmware
        if size % BLOCK_LENGTH
    )
