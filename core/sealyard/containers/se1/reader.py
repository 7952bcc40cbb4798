"""Strict reader of se-1 containers: checks the signature first, then every hash, and only then returns plaintext."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

from sealyard.containers.format import Verification
from sealyard.containers.metadata_files import metadata_file_names
from sealyard.containers.se1.header import CORRUPTED_HINT, Header, parse_header, signing_algorithm
from sealyard.crypto.algorithms import (
    CIPHERS,
    SIGNATURE_LENGTHS,
    SIGNATURES,
    Padding,
    SigningInput,
    signing_input,
)
from sealyard.crypto.certificates import Certificate, load_certificate
from sealyard.crypto.digests import PrefixHash
from sealyard.crypto.pipeline import Consumer, Progress, write_to_stream
from sealyard.crypto.protocols import ContentCipher
from sealyard.crypto.segments import decrypt_segment, read_segment
from sealyard.crypto.signatures import verify
from sealyard.fs.exclusive_files import ExclusiveFileSet
from sealyard.model.algorithms import KeyType, SigningAlgorithm
from sealyard.model.errors import ContainerError, InvalidKeyError
from sealyard.model.formatting import format_count
from sealyard.model.worker_messages import EncryptedSegment

_MAX_SIGNATURE_LENGTH = max(SIGNATURE_LENGTHS.values())


class SE1Reader:
    """Reads one container and verifies it against one certificate.

    The constructor checks structure, certificate and signature, before any segment is read. The constructor and all
    methods raise :class:`ContainerError`, which names the damaged part, if a check fails. ``now`` is the time at which
    the validity of the certificate is checked; with ``strict``, a certificate outside its validity period is an error
    instead of a warning.
    """

    def __init__(self, source: BinaryIO, certificate: bytes, now: datetime, *, strict: bool) -> None:
        self._source = source
        self._size = source.seek(0, 2)
        self._header = parse_header(source)
        self._check_segments_fit()
        self._certificate = _load_certificate(certificate)
        self._signing_algorithm = _resolve_signing_algorithm(self._header, self._certificate)
        self._signature = self._read_signature()
        self._check_signature()
        self._warnings = _validity_warnings(self._certificate, now, strict) + _padding_warnings(self._header)

    def verify(self, progress: Progress) -> Verification:
        """Check the hash of every segment, without decrypting it. ``progress`` counts the bytes of the segments."""
        container_hasher = self._seek_to_segments()
        for segment in self._header.segments:
            hasher = hashlib.sha256()
            read_segment(self._source, segment.length, [container_hasher.update, hasher.update], progress)
            _check_hash(segment, hasher.hexdigest())
        return self._build_verification(container_hasher)

    def verify_digests(
        self, cipher: ContentCipher, sizes: Sequence[int], progress: Progress
    ) -> tuple[Verification, tuple[str, ...]]:
        """See :meth:`sealyard.containers.format.ContainerFormat.verify_digests`."""
        self._check_cipher(cipher)
        if len(sizes) != len(self._header.segments):
            raise ContainerError(
                f"The container has {format_count(len(self._header.segments), 'segment')}; expected {len(sizes)}.",
                part="header",
            )
        container_hasher = self._seek_to_segments()
        digests = []
        for segment, size in zip(self._header.segments, sizes, strict=True):
            plaintext_hasher = PrefixHash(size)
            decrypt_verified_segment(
                self._source, segment, cipher, plaintext_hasher.update, [container_hasher.update], progress
            )
            if plaintext_hasher.bytes_missing:
                raise ContainerError(
                    f"Segment {segment.index} is {format_count(plaintext_hasher.bytes_missing, 'byte')} too short.",
                    part=_part_name(segment),
                )
            digests.append(plaintext_hasher.hexdigest())
        return self._build_verification(container_hasher), tuple(digests)

    def extract(
        self, cipher: ContentCipher, folder: Path, split_metadata: bool, progress: Progress
    ) -> tuple[Path, ...]:
        """See :meth:`sealyard.containers.format.ContainerFormat.extract`."""
        self._check_cipher(cipher)
        segments = self._header.segments
        metadata = metadata_file_names(self._header.metadata, split_metadata)
        names = [*(f"segment-{segment.index}.bin" for segment in segments), *(name for name, _ in metadata)]
        with ExclusiveFileSet(folder, names) as files:
            self.verify(progress)
            self._source.seek(len(self._header.raw))
            for segment in segments:
                with files.create(f"segment-{segment.index}.bin") as target:
                    decrypt_verified_segment(
                        self._source, segment, cipher, partial(write_to_stream, target), [], progress
                    )
            for name, content in metadata:
                with files.create(name) as target:
                    write_to_stream(target, memoryview(content))
            return files.commit()

    def _seek_to_segments(self) -> hashlib._Hash:
        """Move the source to the first segment; return the SHA-256 state of the whole file, updated with the header."""
        self._source.seek(len(self._header.raw))
        return hashlib.sha256(self._header.raw)

    def _build_verification(self, container_hasher: hashlib._Hash) -> Verification:
        container_hasher.update(self._signature)
        return Verification(
            format="se-1",
            encryption=self._header.encryption,
            signing=self._signing_algorithm,
            segments=self._header.segments,
            metadata_length=len(self._header.metadata),
            certificate_subject=self._certificate.subject,
            certificate_not_before=self._certificate.not_before,
            certificate_not_after=self._certificate.not_after,
            sha256=container_hasher.hexdigest(),
            size=self._size,
            warnings=self._warnings,
        )

    def _check_segments_fit(self) -> None:
        end = len(self._header.raw)
        for segment in self._header.segments:
            end += segment.length
            if end > self._size:
                raise ContainerError(
                    f"The file ends {format_count(end - self._size, 'byte')} before segment {segment.index} does.",
                    CORRUPTED_HINT,
                    part=_part_name(segment),
                )

    def _check_cipher(self, cipher: ContentCipher) -> None:
        if cipher.algorithm != self._header.encryption:
            raise InvalidKeyError(
                f"The key is for {cipher.algorithm}; the container is encrypted with {self._header.encryption}.",
                "Use the key that the container was encrypted with.",
            )

    def _read_signature(self) -> bytes:
        """Return the bytes after the segments, and check that they are exactly as long as a signature."""
        start = self._header.end_of_segments
        self._source.seek(start)
        signature = self._source.read(_MAX_SIGNATURE_LENGTH)
        length = self._size - start
        expected_length = _signature_length(self._certificate.kind, signature)
        if length < expected_length:
            raise ContainerError(
                f"The signature has {format_count(length, 'byte')} instead of {expected_length}.",
                CORRUPTED_HINT,
                part="signature",
            )
        if length > expected_length:
            raise ContainerError(
                f"The file has {format_count(length - expected_length, 'byte')} after the signature.",
                CORRUPTED_HINT,
                part="trailing bytes",
            )
        return signature

    def _check_signature(self) -> None:
        header = self._header.raw
        prehashed = SIGNATURES[self._signing_algorithm].input is SigningInput.SHA256_DIGEST
        data = signing_input(self._signing_algorithm, header)
        public_key = self._certificate.public_key
        if not verify(public_key, self._signing_algorithm, data, self._signature, prehashed=prehashed):
            raise ContainerError(
                "The signature does not match the header and metadata.",
                "Check the certificate: the file was modified, or signed with a different key.",
                part="signature",
            )


def check_contents(
    header: bytes, source: BinaryIO, cipher: ContentCipher, content_consumers: Sequence[Consumer], progress: Progress
) -> hashlib._Hash:
    """See :meth:`sealyard.containers.format.ContainerFormat.check_contents`."""
    parsed_header = parse_header(io.BytesIO(header))
    container_hasher = hashlib.sha256(header)
    source.seek(len(header))
    for segment, consumer in zip(parsed_header.segments, content_consumers, strict=True):
        decrypt_verified_segment(source, segment, cipher, consumer, [container_hasher.update], progress)
    return container_hasher


def decrypt_verified_segment(
    source: BinaryIO,
    segment: EncryptedSegment,
    cipher: ContentCipher,
    sink: Consumer,
    ciphertext_consumers: Sequence[Consumer],
    progress: Progress,
) -> None:
    """Decrypt the next segment of ``source`` into ``sink``, and check its hash.

    Each of ``ciphertext_consumers`` also receives all bytes of the segment. Raises :class:`ContainerError` if the hash
    or the padding is wrong. A hash mismatch takes precedence over a padding error, so that a modified byte is not
    reported as a wrong key.
    """
    hasher = hashlib.sha256()
    try:
        decrypt_segment(source, segment.length, cipher, sink, [*ciphertext_consumers, hasher.update], progress)
    except ContainerError as error:
        _check_hash(segment, hasher.hexdigest())
        raise ContainerError(error.message, error.structured_hint, part=_part_name(segment)) from error
    _check_hash(segment, hasher.hexdigest())


def _part_name(segment: EncryptedSegment) -> str:
    return f"segment {segment.index}"


def _check_hash(segment: EncryptedSegment, sha256: str) -> None:
    if sha256 != segment.sha256:
        raise ContainerError(
            f"Segment {segment.index} does not match its signed hash.",
            CORRUPTED_HINT,
            part=_part_name(segment),
        )


def _load_certificate(certificate: bytes) -> Certificate:
    try:
        return load_certificate(certificate)
    except InvalidKeyError as error:
        raise ContainerError(error.message, error.structured_hint, part="certificate") from error


def _resolve_signing_algorithm(header: Header, certificate: Certificate) -> SigningAlgorithm:
    algorithm = signing_algorithm(header.signature_number, certificate.kind)
    if algorithm is None:
        raise ContainerError(
            f"Signature number {header.signature_number} of the container does not match the type of the certificate's"
            f" key, {certificate.kind}.",
            "Use the certificate of the key that signed the container.",
            part="certificate",
        )
    return algorithm


def _signature_length(kind: KeyType, signature: bytes) -> int:
    """Return the length that ``signature`` must have.

    The length of an ECDSA signature varies: the signature is a DER sequence of less than 128 bytes, whose second byte
    is the number of bytes that follow.
    """
    if kind is not KeyType.EC_P256:
        return SIGNATURE_LENGTHS[kind]
    return 2 + (signature[1] if len(signature) > 1 else 0)


def _validity_warnings(certificate: Certificate, now: datetime, strict: bool) -> tuple[str, ...]:
    if now < certificate.not_before:
        problem = f"The certificate is not valid before {certificate.not_before:%Y-%m-%d %H:%M} UTC."
    elif now > certificate.not_after:
        problem = f"The certificate was valid until {certificate.not_after:%Y-%m-%d %H:%M} UTC."
    else:
        return ()
    if strict:
        raise ContainerError(problem, "Disable the strict check to accept it.", part="certificate")
    return (problem,)


def _padding_warnings(header: Header) -> tuple[str, ...]:
    if CIPHERS[header.encryption].padding is not Padding.ZERO:
        return ()
    return ("Zero padding is not removed: opened files can end with up to 15 extra zero bytes.",)
