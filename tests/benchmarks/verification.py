"""Measure the cost of verifying inputs: packages of the same file with and without verification, alternating.

Without verification, the plaintext is not hashed during encryption, and the finished container is decrypted and hashed.
With verification, the plaintext is hashed during encryption, and the segments are read back before the signature and
compared with the input.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealyard.containers.format import PackageLayout
from sealyard.containers.se1.format import SE1Format
from sealyard.crypto import segments
from sealyard.crypto.certificates import create_self_signed
from sealyard.crypto.ciphers import AesCipher
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.tasks import InputFile
from sealyard.worker.approved_inputs import ContentComparison
from sealyard.worker.work_dir import background_fsync
from tests.benchmarks.rows import Row
from tests.benchmarks.workspaces import random_file, temporary_dir
from tests.support.factories.containers import predictable_random

ROUNDS = 5
CIPHER = AesCipher(EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, bytes(32))


class NoHash:
    """Replacement for the hash of the plaintext."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...
    def update(self, piece: memoryview) -> None: ...

    def hexdigest(self) -> str:
        return ""


class PackageRun:
    def __init__(self, source: Path, target: Path) -> None:
        self.source = source
        self.target = target
        self.size = source.stat().st_size
        self.key = Ed25519PrivateKey.generate()
        self.certificate = create_self_signed(self.key, "bench", datetime.now(UTC))
        self.layout = PackageLayout(
            encryption=CIPHER.algorithm,
            signing=SigningAlgorithm.ED25519,
            signing_key_kind=KeyType.ED25519,
            firmware=((source.name, self.size),),
            metadata=(),
        )

    def without_verification(self) -> None:
        with mock.patch.object(segments, "BackgroundHash", NoHash):
            header = self._encrypt()
        self._sign(header)
        with self.target.open("rb") as file:
            SE1Format().verify_digests(file, self.certificate, CIPHER, [self.size])

    def with_verification(self) -> None:
        header = self._encrypt()
        file = InputFile(name=self.source.name, size=self.size, sha256="")
        with self.source.open("rb") as source, self.target.open("rb") as target:
            content = ContentComparison(file, source)
            SE1Format().check_contents(header, target, CIPHER, [content.update], lambda _: None)
            content.check()
        self._sign(header)
        with self.target.open("rb") as file_on_disk:
            SE1Format().check_signature(file_on_disk, self.certificate)

    def _encrypt(self) -> bytes:
        with self.source.open("rb") as source, self.target.open("w+b") as target:
            with background_fsync(target):
                segment = SE1Format().encrypt_segment(
                    self.layout, 0, source, target, CIPHER, predictable_random, lambda _: None
                )
            os.fsync(target.fileno())
        return SE1Format().header(self.layout, [segment], ())

    def _sign(self, header: bytes) -> None:
        with self.target.open("r+b") as file:
            SE1Format().write_signature(self.layout, file, header, self.key.sign(header))
            os.fsync(file.fileno())


def rows(size: int = 1 << 30) -> list[Row]:
    """Return the median of the rounds; each round runs both variants, in alternating order."""
    with temporary_dir() as root:
        run = PackageRun(random_file(root / "firmware.bin", size), root / "container")
        ratios = []
        for number in range(ROUNDS):
            order = [run.without_verification, run.with_verification]
            if number % 2:
                order.reverse()
            seconds = {step.__name__: _measure(step) for step in order}
            ratios.append(seconds["with_verification"] / seconds["without_verification"])
    return [
        Row(
            "package of 1 GiB with verified inputs, relative to no verification",
            statistics.median(ratios),
            "at most 1.05",
        )
    ]


def _measure(step: Callable[[], None]) -> float:
    os.sync()
    started_at = time.perf_counter()
    step()
    return time.perf_counter() - started_at
