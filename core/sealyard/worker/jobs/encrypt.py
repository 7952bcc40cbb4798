"""Encryption tasks: one file, encrypted as a container's segment is (ciphertext, then the IV), and checked."""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import suppress

from sealyard.crypto.protocols import ContentCipher
from sealyard.crypto.segments import SegmentDigests, decrypt_segment, encrypt_segment
from sealyard.model.errors import ContainerError, IntegrityError, InvalidInputError
from sealyard.model.tasks import InputFile
from sealyard.model.worker_messages import JobFinished
from sealyard.worker.approved_inputs import ContentComparison, changed, check_digest
from sealyard.worker.job_context import JobContext
from sealyard.worker.work_dir import WorkFolder, background_fsync, locked

OUTPUT_NAME = "encrypted"


async def encrypt(bench: JobContext) -> JobFinished:
    """Encrypt the file of an encryption task."""
    bench.progress.total = 2 * bench.task.total_bytes
    (file,) = bench.task.inputs
    async with locked(bench.work_dir) as folder:
        cipher = await bench.cipher()
        made = await asyncio.to_thread(_encrypt, bench, file, folder, cipher)
        await asyncio.to_thread(_self_check, bench, file, folder, made, cipher)
        return JobFinished(
            task_id=bench.task.id, fencing_token=bench.task.fencing_token, sha256=made.sha256, size=made.length
        )


def _encrypt(bench: JobContext, file: InputFile, folder: WorkFolder, cipher: ContentCipher) -> SegmentDigests:
    with bench.open_input(file) as source, folder.create(OUTPUT_NAME) as target:
        try:
            with background_fsync(target):
                made = encrypt_segment(source, file.size, target, cipher, bench.progress)
        except InvalidInputError:
            # Its size was right when it was opened.
            raise changed(file) from None
        check_digest(file, made.plaintext_sha256)
        os.fsync(target.fileno())
    return made


def _self_check(
    bench: JobContext, file: InputFile, folder: WorkFolder, made: SegmentDigests, cipher: ContentCipher
) -> None:
    """Read the encrypted file back and compare what it decrypts to with the input; zero padding may follow."""
    digest = hashlib.sha256()
    with bench.open_input(file) as source, folder.read(OUTPUT_NAME) as encrypted:
        content = ContentComparison(file, source)
        # A changed byte may show as wrong padding first; the digest tells.
        with suppress(ContainerError):
            decrypt_segment(encrypted, made.length, cipher, content.update, [digest.update], bench.progress)
    if digest.hexdigest() != made.sha256:
        raise IntegrityError(
            "The encrypted file was changed on disk. Nothing was released.",
            "Check the disk and which programs can write to the workspace, then request a new task.",
        )
    content.check()
