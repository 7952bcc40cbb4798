"""Encrypt files into segments and decrypt segments, in constant memory.

A segment is the ciphertext followed by its IV (ECB: no IV). All functions read from and write to files at their current
position.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import BinaryIO, NamedTuple

from sealyard.crypto.algorithms import BLOCK_LENGTH, CIPHERS
from sealyard.crypto.digests import BackgroundHash
from sealyard.crypto.pipeline import CHUNK, Consumer, ExactReader, Progress, pump, write_to_stream
from sealyard.crypto.protocols import CipherStream, ContentCipher, RandomSource
from sealyard.model.algorithms import EncryptionAlgorithm
from sealyard.model.errors import InputMismatchError
from sealyard.model.formatting import format_count


class SegmentDigests(NamedTuple):
    """Length and digests of a segment.

    ``length`` and ``sha256`` (hex) include the IV. ``plaintext_sha256`` (hex) is the digest of the plaintext.
    """

    length: int
    sha256: str
    plaintext_sha256: str


def create_iv(algorithm: EncryptionAlgorithm, random: RandomSource, name: str) -> bytes:
    """Return the IV called ``name``. It is empty for ECB, which has none."""
    return random(name, CIPHERS[algorithm].iv_length)


def encrypt_segment(
    source: BinaryIO, size: int, target: BinaryIO, cipher: ContentCipher, iv: bytes, progress: Progress
) -> SegmentDigests:
    """Encrypt ``source`` into ``target`` with ``iv`` (CTR: the first counter block).

    The same IV must never be used with other content, and must not be predictable; see :func:`create_iv`.

    Hashes the plaintext while reading it, so the plaintext digest is that of the bytes that were encrypted. Flushes
    ``target``; the caller must sync it to disk.

    Raises :class:`InputMismatchError` unless ``source`` has exactly ``size`` bytes left.
    """
    stream = cipher.encryptor(iv)
    reader = ExactReader(source, size, progress)
    chunk_length = min(CHUNK, size)
    hasher = hashlib.sha256()
    length = 0

    def write(chunk: memoryview) -> None:
        nonlocal length
        write_to_stream(target, chunk)
        length += len(chunk)

    with BackgroundHash() as plaintext_hasher:
        read_and_encrypt = _make_encrypting_reader(reader, stream, chunk_length, plaintext_hasher)
        pump(read_and_encrypt, [hasher.update, write], chunk_length + BLOCK_LENGTH)
        plaintext_sha256 = plaintext_hasher.hexdigest()
    if source.read(1):
        raise InputMismatchError(
            f"The file is longer than the expected {format_count(size, 'byte')}.", "The file changed; upload it again."
        )
    final_bytes = memoryview(stream.finalize() + iv)
    hasher.update(final_bytes)
    write(final_bytes)
    target.flush()
    return SegmentDigests(length, hasher.hexdigest(), plaintext_sha256)


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
    chunk_length = min(CHUNK, length)
    pump(reader.read_into, [*observers, _make_decrypting_consumer(stream, sink, chunk_length)], chunk_length)
    source.seek(start + length)
    for observer in observers:
        observer(memoryview(iv))
    progress(iv_length)
    sink(memoryview(stream.finalize()))


def read_segment(source: BinaryIO, length: int, observers: Sequence[Consumer], progress: Progress) -> None:
    """Read ``length`` bytes of ``source`` and pass them to each of ``observers``."""
    pump(ExactReader(source, length, progress).read_into, observers, min(CHUNK, length))


def _make_encrypting_reader(
    reader: ExactReader, stream: CipherStream, chunk_length: int, plaintext_hasher: BackgroundHash
) -> Callable[[memoryview], int]:
    # Two buffers, because BackgroundHash may still be hashing one chunk while the next one is read.
    buffers = cycle([memoryview(bytearray(chunk_length)) for _ in range(2)])

    def read_and_encrypt(buffer: memoryview) -> int:
        chunk = next(buffers)
        length = reader.read_into(chunk)
        if not length:
            return 0
        plaintext_hasher.update(chunk[:length])
        # pump() takes 0 for the end of the stream. A chunk shorter than a cipher block yields 0 bytes of output, but
        # only the last chunk can be that short.
        return stream.update_into(chunk[:length], buffer)

    return read_and_encrypt


def _make_decrypting_consumer(stream: CipherStream, sink: Consumer, chunk_length: int) -> Consumer:
    plaintext = memoryview(bytearray(chunk_length + BLOCK_LENGTH))

    def decrypt(chunk: memoryview) -> None:
        sink(plaintext[: stream.update_into(chunk, plaintext)])

    return decrypt
