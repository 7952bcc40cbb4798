"""Encode and strictly parse the se-1 header.

The fields, in order, with all integers little-endian: ``ht`` 8 bytes (magic), ``pv`` u8 (packaging version), ``ml`` u16
(length of the metadata), ``ec`` u16 (encryption number), ``sc`` u16 (signature number), ``es`` u8 (number of segments),
``esl`` u32 for each segment (its length), ``esh`` 32 bytes for each segment (its SHA-256), metadata of ``ml`` bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import BinaryIO

from sealyard.crypto.algorithms import CIPHERS, SHA256_LENGTH, SIGNATURES, CipherSpec
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import ContainerError
from sealyard.model.formatting import format_count
from sealyard.model.worker_messages import EncryptedSegment

MAGIC = b"Bosch_SE"
PACKAGING_VERSION = 1
MAX_SEGMENTS = 0xFF
MAX_METADATA = 0xFFFF
MAX_SEGMENT_LENGTH = 0xFFFF_FFFF

CORRUPTED_HINT = "The file is truncated or modified; download it again."

_FIXED_FIELDS = struct.Struct("<8sBHHHB")


class Header(FrozenStruct, frozen=True, kw_only=True):
    """The fields of a parsed header. ``raw``: the exact bytes that are signed."""

    encryption: EncryptionAlgorithm
    signature_number: int
    segments: tuple[EncryptedSegment, ...]
    metadata: bytes
    raw: bytes

    @property
    def end_of_segments(self) -> int:
        """The offset of the signature in the file, in bytes."""
        return len(self.raw) + sum(segment.length for segment in self.segments)


def header_length(segment_count: int, metadata_length: int) -> int:
    """Return the length in bytes of a header for ``segment_count`` segments, including its metadata."""
    return _FIXED_FIELDS.size + (4 + SHA256_LENGTH) * segment_count + metadata_length


def encode_header(
    encryption: EncryptionAlgorithm,
    signature_algorithm: SigningAlgorithm,
    segments: Sequence[EncryptedSegment],
    metadata: bytes,
) -> bytes:
    """Return the bytes of a header. The caller must have checked the limits of the se-1 format."""
    fixed_fields = _FIXED_FIELDS.pack(
        MAGIC,
        PACKAGING_VERSION,
        len(metadata),
        CIPHERS[encryption].number,
        SIGNATURES[signature_algorithm].number,
        len(segments),
    )
    lengths = struct.pack(f"<{len(segments)}I", *(segment.length for segment in segments))
    hashes = b"".join(bytes.fromhex(segment.sha256) for segment in segments)
    return fixed_fields + lengths + hashes + metadata


def parse_header(source: BinaryIO) -> Header:
    """Parse the header at the start of ``source``, without verifying the signature or the hashes.

    Raises :class:`ContainerError` if the header is malformed.
    """
    source.seek(0)
    fixed_fields = _read_exactly(source, _FIXED_FIELDS.size, "header")
    magic, version, metadata_length, cipher_number, signature_number, segment_count = _FIXED_FIELDS.unpack(fixed_fields)
    if magic != MAGIC:
        raise ContainerError("Not an se-1 container.", "Check that it is the right file.", part="header")
    if version != PACKAGING_VERSION:
        raise _header_error(f"Unsupported packaging version {version}; se-1 has version {PACKAGING_VERSION}.")
    cipher = _find_cipher(cipher_number)
    if signature_number not in {spec.number for spec in SIGNATURES.values()}:
        raise _header_error(f"Unknown signature number {signature_number}.")
    if segment_count == 0:
        raise _header_error("The container has no segments.")
    table = _read_exactly(source, header_length(segment_count, 0) - _FIXED_FIELDS.size, "header")
    segments = _parse_segments(table, segment_count)
    for segment in segments:
        _check_segment_length(segment, cipher)
    metadata = _read_exactly(source, metadata_length, "metadata")
    return Header(
        encryption=cipher.algorithm,
        signature_number=signature_number,
        segments=segments,
        metadata=metadata,
        raw=fixed_fields + table + metadata,
    )


def signing_algorithm(signature_number: int, kind: KeyType) -> SigningAlgorithm | None:
    """Return the algorithm with ``signature_number`` that a key of type ``kind`` can use, or ``None`` if there is none.

    Returns the first match if two algorithms produce the same bytes (RSA_3072 and SHA256_RSA_3072_PSS).
    """
    candidates = (
        spec.algorithm for spec in SIGNATURES.values() if spec.number == signature_number and kind in spec.key_kinds
    )
    return next(candidates, None)


def _find_cipher(number: int) -> CipherSpec:
    for spec in CIPHERS.values():
        if spec.number == number:
            return spec
    raise _header_error(f"Unknown encryption number {number}.")


def _parse_segments(table: bytes, segment_count: int) -> tuple[EncryptedSegment, ...]:
    lengths = struct.unpack_from(f"<{segment_count}I", table)
    hashes = struct.iter_unpack(f"{SHA256_LENGTH}s", table[4 * segment_count :])
    return tuple(
        EncryptedSegment(index=index, length=length, sha256=sha256.hex())
        for index, (length, (sha256,)) in enumerate(zip(lengths, hashes, strict=True))
    )


def _check_segment_length(segment: EncryptedSegment, cipher: CipherSpec) -> None:
    if segment.length <= cipher.iv_length:
        problem = f"Segment {segment.index} is too short: {format_count(segment.length, 'byte')}."
    elif segment.length % cipher.block_multiple:
        length = format_count(segment.length, "byte")
        problem = f"Segment {segment.index} has {length}, not a multiple of {cipher.block_multiple}."
    else:
        return
    raise ContainerError(problem, CORRUPTED_HINT, part=f"segment {segment.index}")


def _read_exactly(source: BinaryIO, length: int, part: str) -> bytes:
    data = source.read(length)
    if len(data) != length:
        raise ContainerError(f"The file ends within the {part}.", CORRUPTED_HINT, part=part)
    return data


def _header_error(problem: str) -> ContainerError:
    return ContainerError(problem, CORRUPTED_HINT, part="header")
