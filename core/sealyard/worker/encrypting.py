"""Encryption tasks: one file, encrypted as a container's segment is (ciphertext, then the IV), and checked."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

from sealyard.crypto.segments import seal_segment, unseal_segment
from sealyard.crypto.streams import ContentCipher
from sealyard.model.errors import WorkerError
from sealyard.model.jobs import Finished
from sealyard.worker.bench import Bench
from sealyard.worker.durable import written_early
from sealyard.worker.workplace import held

ENCRYPTED = "encrypted"


async def encrypt(bench: Bench) -> Finished:
    """Encrypts the file of an encryption task."""
    bench.progress.total = 2 * bench.task.total_bytes
    async with held(bench.workplace) as place:
        cipher = await bench.cipher()
        length, sha256 = await asyncio.to_thread(_seal, bench, place / ENCRYPTED, cipher)
        await asyncio.to_thread(_self_check, bench, place / ENCRYPTED, length, sha256, cipher)
        return Finished(task_id=bench.task.id, fence=bench.task.fence, sha256=sha256, size=length)


def _seal(bench: Bench, target: Path, cipher: ContentCipher) -> tuple[int, str]:
    file = bench.task.inputs[0]
    with bench.open_input(file) as source, target.open("wb") as sealed:
        with written_early(sealed):
            length, sha256 = seal_segment(source, file.size, sealed, cipher, bench.progress)
        os.fsync(sealed.fileno())
    return length, sha256


def _self_check(bench: Bench, target: Path, length: int, sha256: str, cipher: ContentCipher) -> None:
    """What lies on the disk must decrypt to what was handed in; zero padding may follow it."""
    file = bench.task.inputs[0]
    sealed, opened = hashlib.sha256(), _Beginning(file.size)
    with target.open("rb") as source:
        unseal_segment(source, length, cipher, opened.update, [sealed.update], bench.progress)
    if sealed.hexdigest() != sha256 or opened.hexdigest() != file.sha256:
        raise WorkerError("The encrypted file does not decrypt to its input.", "Nothing was released; try again.")


class _Beginning:
    """SHA-256 over the first ``size`` bytes of what passes by."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._digest = hashlib.sha256()

    def update(self, piece: memoryview) -> None:
        self._digest.update(piece[: self._left])
        self._left -= min(self._left, len(piece))

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
