"""Packaging tasks: encrypt each firmware file, check the segments as a device would, and sign the header."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from contextlib import ExitStack
from typing import BinaryIO

from sealyard.containers.format import ContainerFormat, PackageLayout
from sealyard.containers.registry import get_format
from sealyard.crypto.algorithms import signing_input
from sealyard.crypto.protocols import ContentCipher, RandomSource
from sealyard.fs.atomic import sync
from sealyard.model.errors import ContainerError, IntegrityError, InvalidInputError
from sealyard.model.safe_text import escape_text
from sealyard.model.worker_messages import JobFinished, RecordedSegment, SegmentEncrypted
from sealyard.worker.approved_inputs import ContentComparison, RecordedContent, changed_error, check_digest
from sealyard.worker.build import Build, open_build
from sealyard.worker.job_context import JobContext
from sealyard.worker.work_dir import WorkFolder, background_fsync, lock_folder

CONTAINER = "container"
MAX_PARALLEL_SEGMENTS = 2
"""How many files are encrypted in parallel; each keeps up to two cores busy."""


def package_layout(context: JobContext) -> PackageLayout:
    """Return the layout of the container that the task produces."""
    task = context.task
    assert task.encryption_key is not None
    assert task.signing_key is not None
    assert context.job.signing_kind is not None
    return PackageLayout(
        encryption=task.encryption_key.algorithm,
        signing=task.signing_key.algorithm,
        signing_key_kind=context.job.signing_kind,
        firmware=tuple((file.name, file.size) for file in task.inputs),
        metadata=tuple((file.name, file.size) for file in task.metadata),
    )


async def package(context: JobContext) -> JobFinished:
    """Create the container of a packaging task. Reuses the segments of an earlier attempt.

    Everything is checked before the signing key is used: the inputs while they are read, and the segments by reading
    them back. The signature is verified before it is written.
    """
    container_format = get_format(context.task.format)
    layout = package_layout(context)
    certificate = context.job.certificate
    assert certificate is not None
    async with lock_folder(context.work_dir) as folder:
        cipher = await context.cipher()
        build = await open_build(context, container_format.name, container_format.revision)
        segments, reused_indexes = await _encrypt_segments(context, container_format, layout, folder, cipher, build)
        header = _build_header(context, container_format, layout, segments, build)
        hasher = await asyncio.to_thread(
            _check_contents, context, container_format, folder, cipher, header, reused_indexes
        )
        algorithm_input = signing_input(layout.signing, header)
        signature = await context.sign(header, algorithm_input, base64.b64encode(header).decode())
        size = await asyncio.to_thread(
            _write_signature, container_format, layout, folder, header, signature, certificate
        )
        hasher.update(signature)
        return JobFinished(
            task_id=context.task.id, fencing_token=context.task.fencing_token, sha256=hasher.hexdigest(), size=size
        )


async def _encrypt_segments(
    context: JobContext,
    container_format: ContainerFormat,
    layout: PackageLayout,
    folder: WorkFolder,
    cipher: ContentCipher,
    build: Build,
) -> tuple[tuple[RecordedSegment, ...], frozenset[int]]:
    """Return all segments, and the indexes of those whose bytes were reused from an earlier attempt.

    A recorded segment that is not in the file any more is encrypted again, to the same bytes.
    """
    if not (build.segments and folder.has(CONTAINER)):
        folder.create(CONTAINER).close()
    semaphore = asyncio.Semaphore(MAX_PARALLEL_SEGMENTS)
    reused_indexes: set[int] = set()

    async def encrypt_or_reuse(index: int) -> RecordedSegment:
        async with semaphore:
            recorded_segment = build.segments.get(index)
            if recorded_segment is not None and await asyncio.to_thread(
                _is_segment_intact, context, container_format, layout, folder, recorded_segment
            ):
                reused_indexes.add(index)
                return recorded_segment
            segment = await asyncio.to_thread(
                _encrypt_segment, context, container_format, layout, folder, cipher, build.random, index
            )
            return _record_segment(context, build, segment)

    async with asyncio.TaskGroup() as group:
        segment_tasks = [group.create_task(encrypt_or_reuse(index)) for index in range(len(context.task.inputs))]
    return tuple(segment_task.result() for segment_task in segment_tasks), frozenset(reused_indexes)


def _record_segment(context: JobContext, build: Build, segment: RecordedSegment) -> RecordedSegment:
    """Authenticate the record of an encrypted segment, and send it to the engine if it is a new one.

    Raises :class:`IntegrityError` if an earlier attempt recorded other bytes.
    """
    segment = build.authenticate(segment)
    recorded_segment = build.segments.get(segment.index)
    if recorded_segment is None:
        context.send(
            SegmentEncrypted(task_id=context.task.id, fencing_token=context.task.fencing_token, segment=segment)
        )
    elif segment != recorded_segment:
        file_name = escape_text(context.task.inputs[segment.index].name, 100)
        raise IntegrityError(
            f"Encrypting {file_name} again gave other bytes than the first time. Nothing was signed.",
            "Check the memory and the disk of this computer, then submit the request again.",
        )
    return segment


def _is_segment_intact(
    context: JobContext,
    container_format: ContainerFormat,
    layout: PackageLayout,
    folder: WorkFolder,
    segment: RecordedSegment,
) -> bool:
    """Return whether the container file still contains the recorded segment, so that the segment can be reused.

    Raises :class:`IntegrityError` if the segment was made from an input that was not approved.
    """
    check_digest(context.task.inputs[segment.index], segment.plaintext_sha256)
    with folder.read(CONTAINER) as file:
        return container_format.segment_matches(layout, segment, file, context.progress)


def _encrypt_segment(
    context: JobContext,
    container_format: ContainerFormat,
    layout: PackageLayout,
    folder: WorkFolder,
    cipher: ContentCipher,
    random: RandomSource,
    index: int,
) -> RecordedSegment:
    input_file = context.task.inputs[index]
    with context.open_input(input_file) as source, folder.write(CONTAINER) as target:
        try:
            with background_fsync(target):
                segment = container_format.encrypt_segment(
                    layout, index, source, target, cipher, random, context.progress
                )
        except InvalidInputError:
            # open_input() has checked the size, so the file has changed since then.
            raise changed_error(input_file) from None
        check_digest(input_file, segment.plaintext_sha256)
        _flush_and_sync(target)
    return segment


def _build_header(
    context: JobContext,
    container_format: ContainerFormat,
    layout: PackageLayout,
    segments: tuple[RecordedSegment, ...],
    build: Build,
) -> bytes:
    """Build the header from the segments and metadata that this worker has verified.

    Raises :class:`IntegrityError` if an earlier attempt recorded a different header.
    """
    metadata = [(file.name, context.read_input(file)) for file in context.task.metadata]
    header = container_format.header(layout, segments, metadata)
    if build.header is not None and build.header != base64.b64encode(header).decode():
        raise IntegrityError(
            "The recorded header of the package does not match its contents. Nothing was signed.",
            "Check which programs can write to the workspace, then submit the request again.",
        )
    return header


def _check_contents(
    context: JobContext,
    container_format: ContainerFormat,
    folder: WorkFolder,
    cipher: ContentCipher,
    header: bytes,
    reused_indexes: frozenset[int],
) -> hashlib._Hash:
    """Read all segments back, as a device would, and compare the decrypted content with the approved inputs.

    A segment that this worker encrypted is compared with its input, which was hashed while it was read. The decrypted
    content of a segment from an earlier worker is hashed. Returns the SHA-256 of header and segments.

    Raises :class:`IntegrityError` if a segment or an input has changed on disk.
    """
    with ExitStack() as stack:
        checks = [
            RecordedContent(file)
            if index in reused_indexes
            else ContentComparison(file, stack.enter_context(context.open_input(file)))
            for index, file in enumerate(context.task.inputs)
        ]
        container = stack.enter_context(folder.read(CONTAINER))
        try:
            hasher = container_format.check_contents(
                header, container, cipher, [check.update for check in checks], context.progress
            )
        except ContainerError as error:
            raise IntegrityError(
                f"The encrypted {error.part} was changed on disk. Nothing was signed.",
                "Check the disk and which programs can write to the workspace, then submit the request again.",
            ) from error
        for check in checks:
            check.check()
    return hasher


def _write_signature(
    container_format: ContainerFormat,
    layout: PackageLayout,
    folder: WorkFolder,
    header: bytes,
    signature: bytes,
    certificate: str,
) -> int:
    """Write header and signature, read them back to check them, and return the size of the container in bytes."""
    with folder.write(CONTAINER) as file:
        container_format.write_signature(layout, file, header, signature)
        _flush_and_sync(file)
        container_format.check_signature(file, certificate.encode())
        return file.seek(0, os.SEEK_END)


def _flush_and_sync(file: BinaryIO) -> None:
    file.flush()
    sync(file.fileno())
