"""Encrypt files into segments and decrypt segments, in constant memory.

A segment is the ciphertext followed by its IV (ECB: no IV). All functions use source and target files from their
current position.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import BinaryIO, NamedTuple

from sealyard.crypto.algorithms import BLOCK_LENGTH, CIPHERS
from sealyard.crypto.digests import BackgroundHash
from sealyard.crypto.pipeline import CHUNK, Consumer, ExactReader, Progress, pump, write_to_stream
from sealyard.crypto.protocols import CipherStream, ContentCipher
from sealyard.model.errors import InvalidInputError
from sealyard.model.formatting import format_count


class SegmentDigests(NamedTuple):
    """Length and digests of a segment.

    ``length`` and ``sha256`` (hex) include the IV. ``plaintext_sha256`` (hex) is the digest of the plaintext.
    """

    length: int
    sha256: str
    plaintext_sha256: str


def encrypt_segment(
    source: BinaryIO, size: int, target: BinaryIO, cipher: ContentCipher, progress: Progress
) -> SegmentDigests:
    """Encrypt ``source`` into ``target`` with a new random IV (CTR: the first counter block).

    Hashes the plaintext while reading it, so the plaintext digest is that of the bytes that were encrypted. Flushes
    ``target``; the caller must sync it to disk.

    Raises :class:`InvalidInputError` unless ``source`` has exactly ``size`` bytes left.
    """
    iv = secrets.token_bytes(CIPHERS[cipher.algorithm].iv_length)
    stream = cipher.encryptor(iv)
    reader = ExactReader(source, size, progress)
    piece_length = min(CHUNK, size)
    digest = hashlib.sha256()
    written = 0

    def write(piece: memoryview) -> None:
        nonlocal written
        write_to_stream(target, piece)
        written += len(piece)

    with BackgroundHash() as plaintext_hash:
        fill = _make_fill(reader, stream, piece_length, plaintext_hash)
        pump(fill, [digest.update, write], piece_length + BLOCK_LENGTH)
        plaintext_sha256 = plaintext_hash.hexdigest()
    if source.read(1):
        raise InvalidInputError(
            f"The file is longer than the expected {format_count(size, 'byte')}.", "The file changed; upload it again."
        )
    tail = memoryview(stream.finalize() + iv)
    digest.update(tail)
    write(tail)
    target.flush()
    return SegmentDigests(written, digest.hexdigest(), plaintext_sha256)


def decrypt_segment(
    source: BinaryIO,
    length: int,
    cipher: ContentCipher,
    sink: Consumer,
    observers: Sequence[Consumer],
    progress: Progress,
) -> None:
    """Decrypt a segment of ``length`` bytes into ``sink``, and pass all bytes of the segment to each of ``observers``.

    The caller must not trust the plaintext until an observer has verified the hash of the segment.

    Raises :class:`ContainerError` if the padding is wrong, after the observers have received all bytes.
    """
    iv_length = CIPHERS[cipher.algorithm].iv_length
    start = source.tell()
    source.seek(start + length - iv_length)
    iv = source.read(iv_length)
    source.seek(start)
    stream = cipher.decryptor(iv)
    reader = ExactReader(source, length - iv_length, progress)
    piece_length = min(CHUNK, length)
    pump(reader.read_into, [*observers, _make_decrypting_consumer(stream, sink, piece_length)], piece_length)
    source.seek(start + length)
    for observer in observers:
        observer(memoryview(iv))
    progress(iv_length)
    sink(memoryview(stream.finalize()))


def read_segment(source: BinaryIO, length: int, observers: Sequence[Consumer], progress: Progress) -> None:
    """Read ``length`` bytes of ``source`` and pass them to each of ``observers``."""
    pump(ExactReader(source, length, progress).read_into, observers, min(CHUNK, length))


def _make_fill(
    reader: ExactReader, stream: CipherStream, piece_length: int, plaintext_hash: BackgroundHash
) -> Callable[[memoryview], int]:
    # Two buffers, because BackgroundHash may still be hashing one piece while the next one is read.
    buffers = cycle([memoryview(bytearray(piece_length)) for _ in range(2)])

    def fill(buffer: memoryview) -> int:
        piece = next(buffers)
        count = reader.read_into(piece)
        if not count:
            return 0
        plaintext_hash.update(piece[:count])
        # pump() takes 0 for the end of the stream. A piece shorter than a block yields 0 bytes of output, but only the
        # last piece can be that short.
        return stream.update_into(piece[:count], buffer)

    return fill


def _make_decrypting_consumer(stream: CipherStream, sink: Consumer, piece_length: int) -> Consumer:
    plaintext = memoryview(bytearray(piece_length + BLOCK_LENGTH))

    def decrypt(piece: memoryview) -> None:
        sink(plaintext[: stream.update_into(piece, plaintext)])

    return decrypt
