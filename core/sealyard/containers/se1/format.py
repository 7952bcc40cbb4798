"""se-1, the default format of the Sign & Encrypt service: header, encrypted segments, signature over the header.

Limitations: a container holds no firmware version, so the format does not protect against replay or rollback. Its
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
from sealyard.crypto.pipeline import Consumer, Progress, no_progress, write_to_stream
from sealyard.crypto.protocols import ContentCipher, RandomSource
from sealyard.crypto.segments import create_iv, encrypt_segment, read_segment
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.errors import FormatLimitError, InputMismatchError, InvalidInputError, InvalidKeyError
from sealyard.model.formatting import format_count
from sealyard.model.safe_text import escape_text
from sealyard.model.worker_messages import EncryptedSegment, RecordedSegment

_SE2_HINT = "Split the package: this is a limit of the se-1 format."


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SE1Format:
    """The se-1 implementation of :class:`~sealyard.containers.format.ContainerFormat`.

    ``now`` returns the time at which the validity of certificates is checked.
    """

    name: ClassVar[str] = "se-1"
    magic: ClassVar[bytes] = MAGIC
    revision: ClassVar[int] = 1

    def __init__(self, now: Callable[[], datetime] = _utc_now) -> None:
        self._now = now

    def check_signing_algorithm(self, algorithm: SigningAlgorithm) -> None:
        if SIGNATURES[algorithm].number is None:
            raise InvalidKeyError(
                f"se-1 does not define {algorithm} signatures. Formats that do, such as CMS (RFC 9882), are not yet"
                " available.",
                "Use RSA, ECDSA or Ed25519 for packages; request a signature over a message with this algorithm.",
            )

    def check(self, layout: PackageLayout) -> tuple[str, ...]:
        """See :meth:`ContainerFormat.check`.

        Also raises :class:`InvalidKeyError` if the signing algorithm does not accept this type of key.
        """
        self.check_signing_algorithm(layout.signing)
        _check_signing_key(layout)
        _check_segments(layout)
        _check_metadata(layout)
        return _padding_warnings(layout)

    def signed_length(self, layout: PackageLayout) -> int:
        return header_length(len(layout.firmware), _metadata_length(layout))

    def encrypt_segment(
        self,
        layout: PackageLayout,
        index: int,
        source: BinaryIO,
        target: BinaryIO,
        cipher: ContentCipher,
        random: RandomSource,
        progress: Progress,
    ) -> RecordedSegment:
        """See :meth:`ContainerFormat.encrypt_segment`. Flushes ``target`` but does not sync it.

        ``progress`` counts plaintext bytes.
        """
        _check_cipher(layout, cipher)
        _, size = layout.firmware[index]
        target.seek(_segment_offset(layout, index))
        iv = create_iv(layout.encryption, random, f"segment {index} iv")
        digests = encrypt_segment(source, size, target, cipher, iv, progress)
        return RecordedSegment(
            index=index, length=digests.length, sha256=digests.sha256, plaintext_sha256=digests.plaintext_sha256
        )

    def segment_matches(
        self, layout: PackageLayout, segment: EncryptedSegment, target: BinaryIO, progress: Progress
    ) -> bool:
        """See :meth:`ContainerFormat.segment_matches`. ``progress`` counts the bytes of the segment."""
        if segment.length != _segment_length(layout, segment.index):
            return False
        hasher = hashlib.sha256()
        target.seek(_segment_offset(layout, segment.index))
        try:
            read_segment(target, segment.length, [hasher.update], progress)
        except InvalidInputError:
            return False
        return hasher.hexdigest() == segment.sha256

    def header(
        self, layout: PackageLayout, segments: Sequence[EncryptedSegment], metadata: Sequence[tuple[str, bytes]]
    ) -> bytes:
        """Build the header. Raises :class:`InputMismatchError` if segments or metadata do not match ``layout``."""
        self.check(layout)
        expected_segments = [(index, _segment_length(layout, index)) for index in range(len(layout.firmware))]
        if [(segment.index, segment.length) for segment in segments] != expected_segments:
            raise InputMismatchError("The encrypted segments do not belong to this package.")
        if tuple((name, len(content)) for name, content in metadata) != layout.metadata:
            raise InputMismatchError("The metadata files do not belong to this package.", "Upload the files again.")
        return encode_header(layout.encryption, layout.signing, segments, _join_metadata(metadata))

    def check_contents(
        self,
        header: bytes,
        source: BinaryIO,
        cipher: ContentCipher,
        content_consumers: Sequence[Consumer],
        progress: Progress,
    ) -> hashlib._Hash:
        """See :meth:`ContainerFormat.check_contents`. ``progress`` counts the bytes of the segments."""
        from sealyard.containers.se1.reader import check_contents

        return check_contents(header, source, cipher, content_consumers, progress)

    def write_signature(self, layout: PackageLayout, target: BinaryIO, header: bytes, signature: bytes) -> None:
        """See :meth:`ContainerFormat.write_signature`. Flushes ``target`` but does not sync it."""
        target.seek(0)
        write_to_stream(target, memoryview(header))
        target.seek(_segment_offset(layout, len(layout.firmware)))
        write_to_stream(target, memoryview(signature))
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
        """See :meth:`ContainerFormat.verify`. ``progress`` counts the bytes of the segments."""
        from sealyard.containers.se1.reader import SE1Reader

        return SE1Reader(source, certificate, self._now(), strict=strict).verify(progress or no_progress)

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
        """See :meth:`ContainerFormat.extract`.

        ``progress`` counts the bytes of the segments twice, because they are verified first and then decrypted.
        """
        from sealyard.containers.se1.reader import SE1Reader

        reader = SE1Reader(source, certificate, self._now(), strict=strict)
        return reader.extract(cipher, target, split_metadata, progress or no_progress)

    def verify_digests(
        self,
        source: BinaryIO,
        certificate: bytes,
        cipher: ContentCipher,
        sizes: Sequence[int],
        progress: Progress | None = None,
    ) -> tuple[Verification, tuple[str, ...]]:
        """See :meth:`ContainerFormat.verify_digests`. ``progress`` counts the bytes of the segments."""
        from sealyard.containers.se1.reader import SE1Reader

        return SE1Reader(source, certificate, self._now(), strict=False).verify_digests(
            cipher, sizes, progress or no_progress
        )


def _segment_length(layout: PackageLayout, index: int) -> int:
    _, size = layout.firmware[index]
    return encrypted_length(layout.encryption, size) + CIPHERS[layout.encryption].iv_length


def _segment_offset(layout: PackageLayout, index: int) -> int:
    preceding_length = sum(_segment_length(layout, preceding_index) for preceding_index in range(index))
    return header_length(len(layout.firmware), _metadata_length(layout)) + preceding_length


def _metadata_length(layout: PackageLayout) -> int:
    if len(layout.metadata) > 1:
        return ustar.packed_size(layout.metadata)
    return sum(size for _, size in layout.metadata)


def _join_metadata(metadata: Sequence[tuple[str, bytes]]) -> bytes:
    if len(metadata) > 1:
        return ustar.pack(metadata)
    return b"".join(content for _, content in metadata)


def _check_signing_key(layout: PackageLayout) -> None:
    accepted_kinds = SIGNATURES[layout.signing].key_kinds
    if layout.signing_key_kind not in accepted_kinds:
        raise InvalidKeyError(
            f"{layout.signing} does not support keys of type {layout.signing_key_kind}.",
            f"Use a key of type {' or '.join(accepted_kinds)}.",
        )


def _check_cipher(layout: PackageLayout, cipher: ContentCipher) -> None:
    if cipher.algorithm != layout.encryption:
        raise InvalidKeyError(f"The key is for {cipher.algorithm}; the package uses {layout.encryption}.")


def _check_segments(layout: PackageLayout) -> None:
    count = len(layout.firmware)
    if not count:
        raise FormatLimitError("A package needs at least one firmware file.", "Add a firmware file.")
    if count > MAX_SEGMENTS:
        raise FormatLimitError(
            f"se-1 supports at most {MAX_SEGMENTS} firmware files; this package has {count}.", _SE2_HINT
        )
    for index, (name, size) in enumerate(layout.firmware):
        if size < 1:
            raise FormatLimitError(f"{escape_text(name)} is empty.", "Remove it from the package.")
        if _segment_length(layout, index) > MAX_SEGMENT_LENGTH:
            raise FormatLimitError(
                f"{escape_text(name)} has {size} bytes; with padding and IV, se-1 supports at most"
                f" {MAX_SEGMENT_LENGTH} per file.",
                _SE2_HINT,
            )


def _check_metadata(layout: PackageLayout) -> None:
    length = _metadata_length(layout)
    if layout.metadata and not length:
        raise FormatLimitError(
            "The metadata file is empty, which se-1 cannot distinguish from no metadata.", "Remove it from the package."
        )
    if length > MAX_METADATA:
        raise FormatLimitError(
            f"The metadata has {length} bytes{' as a bundle' if len(layout.metadata) > 1 else ''};"
            f" se-1 supports at most {MAX_METADATA}.",
            _SE2_HINT,
        )


def _padding_warnings(layout: PackageLayout) -> tuple[str, ...]:
    if CIPHERS[layout.encryption].padding is not Padding.ZERO:
        return ()
    return tuple(
        f"The size of {escape_text(name)} is not a multiple of {BLOCK_LENGTH} bytes: {layout.encryption} adds"
        f" {format_count(-size % BLOCK_LENGTH, 'zero byte')}, not removed when the container is opened."
        for name, size in layout.firmware
        if size % BLOCK_LENGTH
    )
