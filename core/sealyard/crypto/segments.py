"""Files sealed into segments and segments opened, in constant memory.

A segment is the ciphertext with its IV appended (ECB: no IV). Source and target are used from where they stand.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import BinaryIO, NamedTuple

from sealyard.crypto.algorithms import BLOCK_LENGTH, CIPHERS
from sealyard.crypto.digests import BackgroundHash
from sealyard.crypto.pipeline import CHUNK, Consumer, ExactReader, Progress, pump, write_all
from sealyard.crypto.protocols import CipherStream, ContentCipher
from sealyard.model.errors import InvalidInputError


class SegmentDigests(NamedTuple):
    """Of a segment just written: its length and SHA-256 (hex), both with the IV, and the SHA-256 of its plaintext."""

    length: int
    sha256: str
    plaintext_sha256: str


def encrypt_segment(
    source: BinaryIO, size: int, target: BinaryIO, cipher: ContentCipher, progress: Progress
) -> SegmentDigests:
    """Encrypts ``source`` under a fresh random IV (CTR: first counter block) into ``target``.

    The plaintext is hashed as it is read: the digest is that of the bytes that were encrypted. ``target`` is
    flushed; making it durable is the caller's business.

    Raises :class:`InvalidInputError` where ``source`` has not exactly ``size`` more bytes.
    """
    iv = secrets.token_bytes(CIPHERS[cipher.algorithm].iv_length)
    stream = cipher.encryptor(iv)
    reader = ExactReader(source, size, progress)
    piece_length = min(CHUNK, size)
    digest = hashlib.sha256()
    written = 0

    def write(piece: memoryview) -> None:
        nonlocal written
        write_all(target, piece)
        written += len(piece)

    with BackgroundHash() as plaintext:
        fill = _encrypting(reader, stream, piece_length, plaintext)
        pump(fill, [digest.update, write], piece_length + BLOCK_LENGTH)
        plaintext_sha256 = plaintext.hexdigest()
    if source.read(1):
        raise InvalidInputError(f"The file has more than its {size} bytes.", "It was changed; upload it again.")
    rest = memoryview(stream.finalize() + iv)
    digest.update(rest)
    write(rest)
    target.flush()
    return SegmentDigests(written, digest.hexdigest(), plaintext_sha256)


def decrypt_segment(
    source: BinaryIO,
    length: int,
    cipher: ContentCipher,
    sink: Consumer,
    witnesses: Sequence[Consumer],
    progress: Progress,
) -> None:
    """Decrypts the segment of ``length`` bytes into ``sink``; each of ``witnesses`` sees all bytes of the segment.

    The plaintext is worth nothing before a witness has agreed to the segment's hash. Raises
    :class:`ContainerError` where the padding is wrong, after the witnesses have seen everything.
    """
    iv_length = CIPHERS[cipher.algorithm].iv_length
    start = source.tell()
    source.seek(start + length - iv_length)
    iv = source.read(iv_length)
    source.seek(start)
    stream = cipher.decryptor(iv)
    reader = ExactReader(source, length - iv_length, progress)
    piece_length = min(CHUNK, length)
    pump(reader.read_into, [*witnesses, _decrypting(stream, sink, piece_length)], piece_length)
    source.seek(start + length)
    for witness in witnesses:
        witness(memoryview(iv))
    progress(iv_length)
    sink(memoryview(stream.finalize()))


def read_segment(source: BinaryIO, length: int, witnesses: Sequence[Consumer], progress: Progress) -> None:
    """Shows ``length`` bytes of ``source`` to each of ``witnesses``."""
    pump(ExactReader(source, length, progress).read_into, witnesses, min(CHUNK, length))


def _encrypting(
    reader: ExactReader, stream: CipherStream, piece_length: int, plaintext: BackgroundHash
) -> Callable[[memoryview], int]:
    # While one piece is still being hashed, the next one is read into the other buffer.
    buffers = cycle([memoryview(bytearray(piece_length)) for _ in range(2)])

    def fill(buffer: memoryview) -> int:
        piece = next(buffers)
        count = reader.read_into(piece)
        if not count:
            return 0
        plaintext.update(piece[:count])
        # A piece too short for a whole block gives nothing yet, but only the last piece can be that short.
        return stream.update_into(piece[:count], buffer)

    return fill


def _decrypting(stream: CipherStream, sink: Consumer, piece_length: int) -> Consumer:
    plaintext = memoryview(bytearray(piece_length + BLOCK_LENGTH))

    def drain(piece: memoryview) -> None:
        sink(plaintext[: stream.update_into(piece, plaintext)])

    return drain
