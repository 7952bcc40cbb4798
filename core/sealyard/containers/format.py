"""The seam of container formats: check, write in steps that survive a crash, read strictly."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, ClassVar, Protocol

from sealyard.crypto.pipeline import Consumer, Progress
from sealyard.crypto.protocols import ContentCipher
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.base import FrozenStruct
from sealyard.model.worker_messages import RecordedSegment, SealedSegment


class PackageLayout(FrozenStruct, frozen=True, kw_only=True):
    """All of a package that decides how its container is laid out: names and sizes (bytes), no contents."""

    encryption: EncryptionAlgorithm
    signing: SigningAlgorithm
    signing_key_kind: KeyType
    firmware: tuple[tuple[str, int], ...]  # name and size, in order
    metadata: tuple[tuple[str, int], ...]


class Verification(FrozenStruct, frozen=True, kw_only=True):
    """What a strict reader found: who signed, with what, and what the container holds."""

    format: str
    encryption: EncryptionAlgorithm
    signing: SigningAlgorithm
    segments: tuple[SealedSegment, ...]
    metadata_length: int
    certificate_subject: str
    certificate_not_before: datetime
    certificate_not_after: datetime
    sha256: str  # of the whole file, hex
    size: int
    warnings: tuple[str, ...] = ()


class ContainerFormat(Protocol):
    """One container format. Writing is cut into steps so that each can be made durable before the next.

    A container is written in place: ``seal`` puts segments at their offsets (several may run at once, each
    with a file object of its own), ``header`` makes the exact bytes that get signed, ``check_contents`` reads the
    segments back before anything is signed, ``finish`` puts header and signature in.
    """

    name: ClassVar[str]
    magic: ClassVar[bytes]

    def check(self, shape: PackageLayout) -> tuple[str, ...]:
        """Warnings a person should see; raises :class:`FormatLimitError` where the format cannot hold it."""
        ...

    def encrypt_segment(
        self,
        shape: PackageLayout,
        index: int,
        source: BinaryIO,
        target: BinaryIO,
        cipher: ContentCipher,
        progress: Progress,
    ) -> RecordedSegment:
        """Encrypts firmware ``index`` to its place in ``target`` under a fresh IV."""
        ...

    def segment_matches(
        self, shape: PackageLayout, segment: SealedSegment, target: BinaryIO, progress: Progress
    ) -> bool:
        """Whether ``target`` still holds exactly this segment, so that a rerun may keep it."""
        ...

    def header(
        self, shape: PackageLayout, segments: Sequence[SealedSegment], metadata: Sequence[tuple[str, bytes]]
    ) -> bytes:
        """The bytes the signature is made over."""
        ...

    def check_contents(
        self,
        header: bytes,
        source: BinaryIO,
        cipher: ContentCipher,
        contents: Sequence[Consumer],
        progress: Progress,
    ) -> hashlib._Hash:
        """Check a container that has no header and signature yet against the header that is to be signed.

        Reads each segment of ``source``, compares its hash with the header, and decrypts it into its drain of
        ``contents``. Returns the SHA-256 of header and segments, to be continued with the signature.

        Raises :class:`ContainerError` naming the part.
        """
        ...

    def write_signature(self, shape: PackageLayout, target: BinaryIO, header: bytes, signature: bytes) -> None:
        """Puts header and signature in and cuts the file where the container ends."""
        ...

    def encryption_of(self, source: BinaryIO) -> EncryptionAlgorithm:
        """What the header, not yet verified, says: to find the key that ``open`` needs.

        Raises :class:`ContainerError` where the header cannot be read.
        """
        ...

    def check_signature(self, source: BinaryIO, certificate: bytes) -> None:
        """Check structure, header and signature, without reading the segments. Raises :class:`ContainerError`."""
        ...

    def verify(
        self, source: BinaryIO, certificate: bytes, *, strict: bool = False, progress: Progress | None = None
    ) -> Verification:
        """Checks structure, signature and all hashes against ``certificate`` (PEM or DER).

        Raises :class:`ContainerError` naming the part. ``strict`` makes validity dates fatal.
        """
        ...

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
        """Verifies, then decrypts into the folder ``target``; files get their names only when all are whole.

        Raises :class:`InvalidKeyError` where ``cipher`` is for another algorithm, :class:`InvalidInputError` where a
        file of that name is already there.
        """
        ...

    def verify_digests(
        self,
        source: BinaryIO,
        certificate: bytes,
        cipher: ContentCipher,
        sizes: Sequence[int],
        progress: Progress | None = None,
    ) -> tuple[Verification, tuple[str, ...]]:
        """Verifies and decrypts, keeping nothing: SHA-256 (hex) of the first ``sizes[i]`` bytes of each file.

        One pass over the file.
        """
        ...
