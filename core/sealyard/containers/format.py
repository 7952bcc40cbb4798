"""The interface of container formats: check a package, write a container in crash-safe steps, and read it strictly."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, ClassVar, Protocol

from sealyard.crypto.pipeline import Consumer, Progress
from sealyard.crypto.protocols import ContentCipher, RandomSource
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.base import FrozenStruct
from sealyard.model.worker_messages import EncryptedSegment, RecordedSegment


class PackageLayout(FrozenStruct, frozen=True, kw_only=True):
    """The properties of a package that determine the layout of its container.

    Contains algorithms, file names and file sizes (bytes), but no file contents.
    """

    encryption: EncryptionAlgorithm
    signing: SigningAlgorithm
    signing_key_kind: KeyType
    firmware: tuple[tuple[str, int], ...]  # (name, size) of each file, in order
    metadata: tuple[tuple[str, int], ...]


class Verification(FrozenStruct, frozen=True, kw_only=True):
    """The result of a strict verification: the signer, the algorithms and the contents of a container."""

    format: str
    encryption: EncryptionAlgorithm
    signing: SigningAlgorithm
    segments: tuple[EncryptedSegment, ...]
    metadata_length: int
    certificate_subject: str
    certificate_not_before: datetime
    certificate_not_after: datetime
    sha256: str  # of the whole file, hex
    size: int
    warnings: tuple[str, ...] = ()


class ContainerFormat(Protocol):
    """A container format. Writing is split into steps, so that each can be made durable before the next.

    A container is written in place:

    1. :meth:`encrypt_segment` writes the segments at their offsets. Several segments may be written concurrently,
       each with its own file object.
    2. :meth:`header` builds the exact bytes that are signed.
    3. :meth:`check_contents` reads the segments back before anything is signed.
    4. :meth:`write_signature` writes the header and the signature.
    """

    name: ClassVar[str]
    magic: ClassVar[bytes]
    revision: ClassVar[int]
    """Increases whenever the same package and random bytes would give another container.

    A task that another revision has started is not continued.
    """

    def check_signing_algorithm(self, algorithm: SigningAlgorithm) -> None:
        """Raise :class:`InvalidKeyError` if the format does not define signatures of this algorithm."""
        ...

    def check(self, layout: PackageLayout) -> tuple[str, ...]:
        """Check that the format can hold the package, and return warnings for the user.

        Raises :class:`FormatLimitError` if the package exceeds a limit of the format.
        """
        ...

    def signed_length(self, layout: PackageLayout) -> int:
        """Return how many bytes of the container are signed."""
        ...

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
        """Encrypt firmware file ``index`` from ``source`` to its offset in ``target``.

        The IV comes from ``random``, under a name of its own, so that a repeated call writes the same bytes.
        """
        ...

    def segment_matches(
        self, layout: PackageLayout, segment: EncryptedSegment, target: BinaryIO, progress: Progress
    ) -> bool:
        """Return whether ``target`` still contains exactly ``segment``, so that another attempt can reuse it."""
        ...

    def header(
        self, layout: PackageLayout, segments: Sequence[EncryptedSegment], metadata: Sequence[tuple[str, bytes]]
    ) -> bytes:
        """Return the header of the container: the exact bytes that are signed."""
        ...

    def check_contents(
        self,
        header: bytes,
        source: BinaryIO,
        cipher: ContentCipher,
        content_consumers: Sequence[Consumer],
        progress: Progress,
    ) -> hashlib._Hash:
        """Check an unfinished container against the header that is about to be signed.

        The file has neither header nor signature yet. Reads each segment of ``source``, compares its hash with
        ``header``, and decrypts it into the consumer at the same position in ``content_consumers``. Returns the SHA-256
        state over header and segments; the caller continues it with the signature.

        Raises :class:`ContainerError`, which names the damaged part, if a segment does not match.
        """
        ...

    def write_signature(self, layout: PackageLayout, target: BinaryIO, header: bytes, signature: bytes) -> None:
        """Write header and signature, and truncate the file at the end of the container."""
        ...

    def encryption_of(self, source: BinaryIO) -> EncryptionAlgorithm:
        """Return the encryption algorithm from the unverified header, to select the key for :meth:`extract`.

        Raises :class:`ContainerError` if the header cannot be read.
        """
        ...

    def check_signature(self, source: BinaryIO, certificate: bytes) -> None:
        """Check structure, header and signature, but not the segments. Raises :class:`ContainerError` if that fails."""
        ...

    def verify(
        self, source: BinaryIO, certificate: bytes, *, strict: bool = False, progress: Progress | None = None
    ) -> Verification:
        """Verify structure, signature and all hashes against ``certificate`` (PEM or DER).

        ``strict`` turns warnings about the validity dates of the certificate into errors. Raises
        :class:`ContainerError`, which names the damaged part, if the verification fails.
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
        """Verify the container, decrypt it into the directory ``target`` and return the paths of the files.

        The files are renamed to their final names only after all of them are complete.

        Raises :class:`InvalidKeyError` if ``cipher`` uses a different algorithm than the container, and
        :class:`InvalidInputError` if one of the files already exists.
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
        """Verify and decrypt the container in one pass, without storing the contents.

        Returns the verification and, for each file ``i``, the SHA-256 (hex) of its first ``sizes[i]`` bytes.
        """
        ...
