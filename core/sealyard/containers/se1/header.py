"""The header of se-1: encoded from a package's shape, and parsed strictly.

All integers are little-endian: ``ht`` 8 bytes, ``pv`` u8, ``ml`` u16, ``ec`` u16, ``sc`` u16, ``es`` u8,
``esl`` u32 for each segment, ``esh`` 32 bytes for each segment, metadata of ``ml`` bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import BinaryIO

from sealyard.crypto.algorithms import CIPHERS, SHA256_LENGTH, SIGNATURES, CipherSpec
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import ContainerError
from sealyard.model.worker_messages import SealedSegment

MAGIC = b"Bosch_SE"
PACKAGING_VERSION = 1
MAX_SEGMENTS = 0xFF
MAX_METADATA = 0xFFFF
MAX_SEGMENT_LENGTH = 0xFFFF_FFFF

_FIXED = struct.Struct("<8sBHHHB")
_CORRUPTED_HINT = "It was cut or changed on its way; fetch it again."


class Header(FrozenStruct, frozen=True, kw_only=True):
    """What a header says, and ``raw``, the very bytes the signature is made over."""

    encryption: EncryptionAlgorithm
    signature_number: int
    segments: tuple[SealedSegment, ...]
    metadata: bytes
    raw: bytes

    @property
    def end_of_segments(self) -> int:
        """Where the signature begins, in bytes from the start of the file."""
        return len(self.raw) + sum(segment.length for segment in self.segments)


def header_length(segments: int, metadata_length: int) -> int:
    return _FIXED.size + (4 + SHA256_LENGTH) * segments + metadata_length


def encode_header(
    encryption: EncryptionAlgorithm,
    signing: SigningAlgorithm,
    segments: Sequence[SealedSegment],
    metadata: bytes,
) -> bytes:
    """The limits of the format must have been checked."""
    fixed = _FIXED.pack(
        MAGIC,
        PACKAGING_VERSION,
        len(metadata),
        CIPHERS[encryption].number,
        SIGNATURES[signing].number,
        len(segments),
    )
    lengths = struct.pack(f"<{len(segments)}I", *(segment.length for segment in segments))
    hashes = b"".join(bytes.fromhex(segment.sha256) for segment in segments)
    return fixed + lengths + hashes + metadata


def parse_header(source: BinaryIO) -> Header:
    """Parses the header from the start of ``source``. Raises :class:`ContainerError`; nothing is verified yet."""
    source.seek(0)
    fixed = _read(source, _FIXED.size, "header")
    magic, version, metadata_length, cipher_number, signature_number, count = _FIXED.unpack(fixed)
    if magic != MAGIC:
        raise ContainerError("This is no se-1 container.", "Look whether it is the right file.", part="header")
    if version != PACKAGING_VERSION:
        raise _malformed(f"The packaging version is {version}; se-1 has version {PACKAGING_VERSION}.")
    cipher = _cipher(cipher_number)
    if signature_number not in {spec.number for spec in SIGNATURES.values()}:
        raise _malformed(f"The signature number {signature_number} is unknown.")
    if count == 0:
        raise _malformed("The container has no segments.")
    table = _read(source, header_length(count, 0) - _FIXED.size, "header")
    segments = _segments(table, count)
    for segment in segments:
        _check_length(segment, cipher)
    metadata = _read(source, metadata_length, "metadata")
    return Header(
        encryption=cipher.algorithm,
        signature_number=signature_number,
        segments=segments,
        metadata=metadata,
        raw=fixed + table + metadata,
    )


def signing_algorithm(signature_number: int, kind: KeyType) -> SigningAlgorithm | None:
    """The algorithm that a signature number means for a key of this kind; None where they do not fit.

    Where two algorithms have the same bytes (RSA_3072 and SHA256_RSA_3072_PSS) it is the first.
    """
    fitting = (
        spec.algorithm for spec in SIGNATURES.values() if spec.number == signature_number and kind in spec.key_kinds
    )
    return next(fitting, None)


def _cipher(number: int) -> CipherSpec:
    for spec in CIPHERS.values():
        if spec.number == number:
            return spec
    raise _malformed(f"The encryption number {number} is unknown.")


def _segments(table: bytes, count: int) -> tuple[SealedSegment, ...]:
    lengths = struct.unpack_from(f"<{count}I", table)
    hashes = struct.iter_unpack(f"{SHA256_LENGTH}s", table[4 * count :])
    return tuple(
        SealedSegment(index=index, length=length, sha256=sha256.hex())
        for index, (length, (sha256,)) in enumerate(zip(lengths, hashes, strict=True))
    )


def _check_length(segment: SealedSegment, cipher: CipherSpec) -> None:
    if segment.length <= cipher.iv_length:
        problem = f"Segment {segment.index} has only {segment.length} bytes."
    elif segment.length % cipher.block_multiple:
        problem = f"Segment {segment.index} has {segment.length} bytes, no multiple of {cipher.block_multiple}."
    else:
        return
    raise ContainerError(problem, _CORRUPTED_HINT, part=f"segment {segment.index}")


def _read(source: BinaryIO, length: int, part: str) -> bytes:
    data = source.read(length)
    if len(data) != length:
        raise ContainerError(f"The file ends within the {part}.", _CORRUPTED_HINT, part=part)
    return data


def _malformed(problem: str) -> ContainerError:
    return ContainerError(problem, _CORRUPTED_HINT, part="header")
