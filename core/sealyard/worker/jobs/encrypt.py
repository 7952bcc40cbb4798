"""Encryption tasks: encrypt one file as a container segment (ciphertext, then the IV), and check the result."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress

from sealyard.crypto.protocols import ContentCipher
from sealyard.crypto.segments import SegmentDigests, create_iv, decrypt_segment, encrypt_segment
from sealyard.fs.atomic import sync
from sealyard.model.errors import ContainerError, IntegrityError, InvalidInputError
from sealyard.model.tasks import InputFile
from sealyard.model.worker_messages import JobFinished
from sealyard.worker.approved_inputs import ContentComparison, changed_error, check_digest
from sealyard.worker.build import open_build
from sealyard.worker.job_context import JobContext
from sealyard.worker.work_dir import WorkFolder, background_fsync, lock_folder

OUTPUT_NAME = "encrypted"
FORMAT, REVISION = "file", 1
"""The format of the output file, like those in :mod:`sealyard.containers`, and its revision."""


async def encrypt(context: JobContext) -> JobFinished:
    """Encrypt the input file of an encryption task, and check the result."""
    (file,) = context.task.inputs
    async with lock_folder(context.work_dir) as folder:
        cipher = await context.cipher()
        build = await open_build(context, FORMAT, REVISION)
        iv = create_iv(cipher.algorithm, build.random, "iv")
        digests = await asyncio.to_thread(_encrypt, context, file, folder, cipher, iv)
        await asyncio.to_thread(_self_check, context, file, folder, digests, cipher)
        return JobFinished(
            task_id=context.task.id,
            fencing_token=context.task.fencing_token,
            sha256=digests.sha256,
            size=digests.length,
        )


def _encrypt(
    context: JobContext, file: InputFile, folder: WorkFolder, cipher: ContentCipher, iv: bytes
) -> SegmentDigests:
    with context.open_input(file) as source, folder.create(OUTPUT_NAME) as target:
        try:
            with background_fsync(target):
                digests = encrypt_segment(source, file.size, target, cipher, iv, context.progress)
        except InvalidInputError:
            # open_input() has checked the size, so the file has changed since then.
            raise changed_error(file) from None
        check_digest(file, digests.plaintext_sha256)
        sync(target.fileno())
    return digests


def _self_check(
    context: JobContext, file: InputFile, folder: WorkFolder, digests: SegmentDigests, cipher: ContentCipher
) -> None:
    """Read the encrypted file back and compare the decrypted content with the input; zero padding may follow it.

    Raises :class:`IntegrityError` if either of the two files has changed on disk.
    """
    hasher = hashlib.sha256()
    with context.open_input(file) as source, folder.read(OUTPUT_NAME) as encrypted_file:
        content = ContentComparison(file, source)
        # Corrupted ciphertext may cause a padding error. Ignore it: the digest comparison below reports the corruption.
        with suppress(ContainerError):
            decrypt_segment(encrypted_file, digests.length, cipher, content.update, [hasher.update], context.progress)
    if hasher.hexdigest() != digests.sha256:
        raise IntegrityError(
            "The encrypted file was changed on disk. Nothing was released.",
            "Check the disk and which programs can write to the workspace, then submit the request again.",
        )
    content.check()
