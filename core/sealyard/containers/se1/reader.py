"""Reads se-1 strictly: signature first, then every hash, and only then a plaintext."""

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
from sealyard.containers.se1.header import Header, parse_header, signing_algorithm
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
from sealyard.crypto.pipeline import Consumer, Progress, write_all
from sealyard.crypto.protocols import ContentCipher
from sealyard.crypto.segments import decrypt_segment, read_segment
from sealyard.crypto.signatures import verify
from sealyard.fs.extract import ExclusiveFileSet
from sealyard.model.algorithms import KeyType, SigningAlgorithm
from sealyard.model.errors import ContainerError, InvalidKeyError
from sealyard.model.worker_messages import SealedSegment

_FETCH_AGAIN = "It was cut or changed on its way; fetch it again."
_LONGEST_SIGNATURE = max(SIGNATURE_LENGTHS.values())


class SE1Reader:
    """One container against one certificate.

    Making one checks structure, certificate and signature; segments are not read before that. Raises
    :class:`ContainerError` naming the part.
    """

    def __init__(self, source: BinaryIO, certificate: bytes, now: datetime, *, strict: bool) -> None:
        self._source = source
        self._size = source.seek(0, 2)
        self._header = parse_header(source)
        self._check_segments_fit()
        self._certificate = _load(certificate)
        self._signing = _signing_algorithm(self._header, self._certificate)
        self._signature = self._read_signature()
        self._check_signature()
        self._warnings = _validity_warnings(self._certificate, now, strict) + _padding_warnings(self._header)

    def verify(self, progress: Progress) -> Verification:
        whole = self._verify_header()
        for segment in self._header.segments:
            digest = hashlib.sha256()
            read_segment(self._source, segment.length, [whole.update, digest.update], progress)
            _check_hash(segment, digest.hexdigest())
        return self._verification(whole)

    def verify_digests(
        self, cipher: ContentCipher, sizes: Sequence[int], progress: Progress
    ) -> tuple[Verification, tuple[str, ...]]:
        self._check_cipher(cipher)
        if len(sizes) != len(self._header.segments):
            raise ContainerError(
                f"The container has {len(self._header.segments)} segments; {len(sizes)} were expected.",
                part="header",
            )
        whole = self._verify_header()
        found = []
        for segment, size in zip(self._header.segments, sizes, strict=True):
            plaintext = PrefixHash(size)
            unseal(self._source, segment, cipher, plaintext.update, [whole.update], progress)
            if plaintext.missing:
                raise ContainerError(
                    f"Segment {segment.index} is {plaintext.missing} bytes shorter than expected.", part=_part(segment)
                )
            found.append(plaintext.hexdigest())
        return self._verification(whole), tuple(found)

    def extract(
        self, cipher: ContentCipher, folder: Path, split_metadata: bool, progress: Progress
    ) -> tuple[Path, ...]:
        self._check_cipher(cipher)
        segments = self._header.segments
        metadata = metadata_file_names(self._header.metadata, split_metadata)
        names = [*(f"segment-{segment.index}.bin" for segment in segments), *(name for name, _ in metadata)]
        with ExclusiveFileSet(folder, names) as files:
            self.verify(progress)
            self._source.seek(len(self._header.raw))
            for segment in segments:
                with files.create(f"segment-{segment.index}.bin") as target:
                    unseal(self._source, segment, cipher, partial(write_all, target), [], progress)
            for name, content in metadata:
                with files.create(name) as target:
                    write_all(target, memoryview(content))
            return files.commit()

    def _verify_header(self) -> hashlib._Hash:
        self._source.seek(len(self._header.raw))
        return hashlib.sha256(self._header.raw)

    def _verification(self, whole: hashlib._Hash) -> Verification:
        whole.update(self._signature)
        return Verification(
            format="se-1",
            encryption=self._header.encryption,
            signing=self._signing,
            segments=self._header.segments,
            metadata_length=len(self._header.metadata),
            certificate_subject=self._certificate.subject,
            certificate_not_before=self._certificate.not_before,
            certificate_not_after=self._certificate.not_after,
            sha256=whole.hexdigest(),
            size=self._size,
            warnings=self._warnings,
        )

    def _check_segments_fit(self) -> None:
        end = len(self._header.raw)
        for segment in self._header.segments:
            end += segment.length
            if end > self._size:
                raise ContainerError(
                    f"The file ends {end - self._size} bytes before segment {segment.index} does.",
                    _FETCH_AGAIN,
                    part=_part(segment),
                )

    def _check_cipher(self, cipher: ContentCipher) -> None:
        if cipher.algorithm != self._header.encryption:
            raise InvalidKeyError(
                f"The key is for {cipher.algorithm}; the container is encrypted with {self._header.encryption}.",
                "Choose the key the container was made with.",
            )

    def _read_signature(self) -> bytes:
        """The rest of the file, which must be exactly as long as one signature."""
        start = self._header.end_of_segments
        self._source.seek(start)
        found = self._source.read(_LONGEST_SIGNATURE)
        there = self._size - start
        wanted = _signature_length(self._certificate.kind, found)
        if there < wanted:
            raise ContainerError(
                f"The signature has {there} bytes instead of {wanted}.", _FETCH_AGAIN, part="signature"
            )
        if there > wanted:
            raise ContainerError(
                f"The file goes on for {there - wanted} bytes after the signature.",
                _FETCH_AGAIN,
                part="trailing bytes",
            )
        return found

    def _check_signature(self) -> None:
        raw = self._header.raw
        prehashed = SIGNATURES[self._signing].input is SigningInput.SHA256_DIGEST
        data = signing_input(self._signing, raw)
        key = self._certificate.public_key
        if not verify(key, self._signing, data, self._signature, prehashed=prehashed):
            raise ContainerError(
                "The signature does not match header and metadata.",
                "They were changed, or the certificate is not that of the key it was signed with.",
                part="signature",
            )


def check_contents(
    header: bytes, source: BinaryIO, cipher: ContentCipher, contents: Sequence[Consumer], progress: Progress
) -> hashlib._Hash:
    """See :meth:`sealyard.containers.format.ContainerFormat.check_contents`."""
    parsed = parse_header(io.BytesIO(header))
    whole = hashlib.sha256(header)
    source.seek(len(header))
    for segment, content in zip(parsed.segments, contents, strict=True):
        unseal(source, segment, cipher, content, [whole.update], progress)
    return whole


def unseal(
    source: BinaryIO,
    segment: SealedSegment,
    cipher: ContentCipher,
    sink: Consumer,
    witnesses: Sequence[Consumer],
    progress: Progress,
) -> None:
    """Decrypt the next segment of ``source`` into ``sink``, and check its hash.

    The hash is judged before the padding: a changed byte must not look like a wrong key.
    """
    digest = hashlib.sha256()
    try:
        decrypt_segment(source, segment.length, cipher, sink, [*witnesses, digest.update], progress)
    except ContainerError as error:
        _check_hash(segment, digest.hexdigest())
        raise ContainerError(error.message, error.hint, part=_part(segment)) from error
    _check_hash(segment, digest.hexdigest())


def _part(segment: SealedSegment) -> str:
    return f"segment {segment.index}"


def _check_hash(segment: SealedSegment, found: str) -> None:
    if found != segment.sha256:
        raise ContainerError(
            f"The bytes of segment {segment.index} are not those that were signed.",
            _FETCH_AGAIN,
            part=_part(segment),
        )


def _load(certificate: bytes) -> Certificate:
    try:
        return load_certificate(certificate)
    except InvalidKeyError as error:
        raise ContainerError(error.message, error.hint, part="certificate") from error


def _signing_algorithm(header: Header, certificate: Certificate) -> SigningAlgorithm:
    found = signing_algorithm(header.signature_number, certificate.kind)
    if found is None:
        raise ContainerError(
            f"The container's signature number {header.signature_number} does not go with the certificate's"
            f" key, {certificate.kind}.",
            "Give the certificate of the key the container was signed with.",
            part="certificate",
        )
    return found


def _signature_length(kind: KeyType, found: bytes) -> int:
    """An ECDSA signature (a DER sequence of less than 128 bytes) tells its length in its second byte."""
    if kind is not KeyType.EC_P256:
        return SIGNATURE_LENGTHS[kind]
    return 2 + (found[1] if len(found) > 1 else 0)


def _validity_warnings(certificate: Certificate, now: datetime, strict: bool) -> tuple[str, ...]:
    if now < certificate.not_before:
        problem = f"The certificate is not valid before {certificate.not_before:%Y-%m-%d %H:%M} UTC."
    elif now > certificate.not_after:
        problem = f"The certificate was valid until {certificate.not_after:%Y-%m-%d %H:%M} UTC."
    else:
        return ()
    if strict:
        raise ContainerError(problem, "Leave the strict check out to accept it.", part="certificate")
    return (problem,)


def _padding_warnings(header: Header) -> tuple[str, ...]:
    if CIPHERS[header.encryption].padding is not Padding.ZERO:
        return ()
    return ("Zero padding is not stripped: opened files may end in up to 15 more zero bytes.",)
