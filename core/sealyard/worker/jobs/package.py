"""Packaging: encrypt each firmware file, check the segments as a device would, and sign the header."""

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
from sealyard.crypto.protocols import ContentCipher
from sealyard.model.errors import ContainerError, IntegrityError, InvalidInputError
from sealyard.model.worker_messages import JobFinished, RecordedSegment, SegmentEncrypted
from sealyard.worker.approved_inputs import ContentComparison, KeptContent, changed, check_digest
from sealyard.worker.job_context import JobContext
from sealyard.worker.work_dir import WorkFolder, background_fsync, locked

CONTAINER = "container"
MAX_PARALLEL_SEGMENTS = 2
"""Files sealed in parallel; each keeps up to two cores busy by itself."""


def package_layout(bench: JobContext) -> PackageLayout:
    task = bench.task
    assert task.encryption_key is not None
    assert task.signing_key is not None
    assert bench.job.signing_kind is not None
    return PackageLayout(
        encryption=task.encryption_key.algorithm,
        signing=task.signing_key.algorithm,
        signing_key_kind=bench.job.signing_kind,
        firmware=tuple((each.name, each.size) for each in task.inputs),
        metadata=tuple((each.name, each.size) for each in task.metadata),
    )


async def package(bench: JobContext) -> JobFinished:
    """Make the container of a packaging task, continuing from what an earlier attempt recorded.

    Everything is checked before the key is used: the inputs while they are read, and the segments by reading them
    back. The signature is verified before it is written.
    """
    packing = get_format(bench.task.format)
    shape = package_layout(bench)
    certificate = bench.job.certificate
    assert certificate is not None
    bench.progress.total = 2 * bench.task.total_bytes
    async with locked(bench.work_dir) as folder:
        cipher = await bench.cipher()
        segments, kept = await _encrypt_segments(bench, packing, shape, folder, cipher)
        header = _header(bench, packing, shape, segments)
        digest = await asyncio.to_thread(_check_contents, bench, packing, folder, cipher, header, kept)
        to_sign = signing_input(shape.signing, header)
        signature = await bench.sign(header, to_sign, base64.b64encode(header).decode())
        size = await asyncio.to_thread(_finish, packing, shape, folder, header, signature, certificate)
        digest.update(signature)
        return JobFinished(
            task_id=bench.task.id, fencing_token=bench.task.fencing_token, sha256=digest.hexdigest(), size=size
        )


async def _encrypt_segments(
    bench: JobContext, packing: ContainerFormat, shape: PackageLayout, folder: WorkFolder, cipher: ContentCipher
) -> tuple[tuple[RecordedSegment, ...], frozenset[int]]:
    """The segments, and the indexes of those that an earlier attempt made."""
    recorded = {segment.index: segment for segment in bench.job.work.segments}
    if not (recorded and folder.has(CONTAINER)):
        _require_no_header(bench)
        recorded = {}
        folder.create(CONTAINER).close()
    slots = asyncio.Semaphore(MAX_PARALLEL_SEGMENTS)
    kept: set[int] = set()

    async def one(index: int) -> RecordedSegment:
        async with slots:
            segment = recorded.get(index)
            if segment is not None and await asyncio.to_thread(_is_kept, bench, packing, shape, folder, segment):
                kept.add(index)
                return segment
            _require_no_header(bench)
            segment = await asyncio.to_thread(_encrypt_segment, bench, packing, shape, folder, cipher, index)
            bench.send(SegmentEncrypted(task_id=bench.task.id, fencing_token=bench.task.fencing_token, segment=segment))
            return segment

    async with asyncio.TaskGroup() as group:
        sealing = [group.create_task(one(index)) for index in range(len(bench.task.inputs))]
    return tuple(each.result() for each in sealing), frozenset(kept)


def _require_no_header(bench: JobContext) -> None:
    """Encrypting a segment again after its header was recorded would be a second signed input."""
    if bench.job.work.header is not None:
        raise IntegrityError(
            "An encrypted segment was changed on disk after the package's header was recorded. Nothing was signed.",
            "Check the disk and which programs can write to the workspace, then request a new task.",
        )


def _is_kept(
    bench: JobContext, packing: ContainerFormat, shape: PackageLayout, folder: WorkFolder, segment: RecordedSegment
) -> bool:
    """Whether the file still holds the recorded segment, so that it need not be encrypted again."""
    check_digest(bench.task.inputs[segment.index], segment.plaintext_sha256)
    with folder.read(CONTAINER) as file:
        return packing.segment_matches(shape, segment, file, bench.progress)


def _encrypt_segment(
    bench: JobContext,
    packing: ContainerFormat,
    shape: PackageLayout,
    folder: WorkFolder,
    cipher: ContentCipher,
    index: int,
) -> RecordedSegment:
    input_file = bench.task.inputs[index]
    with bench.open_input(input_file) as source, folder.write(CONTAINER) as target:
        try:
            with background_fsync(target):
                segment = packing.encrypt_segment(shape, index, source, target, cipher, bench.progress)
        except InvalidInputError:
            # Its size was right when it was opened.
            raise changed(input_file) from None
        check_digest(input_file, segment.plaintext_sha256)
        _sync(target)
    return segment


def _header(
    bench: JobContext, packing: ContainerFormat, shape: PackageLayout, segments: tuple[RecordedSegment, ...]
) -> bytes:
    """The header, from what this worker has verified; a recorded one must be the same."""
    metadata = [(file.name, bench.read_input(file)) for file in bench.task.metadata]
    header = packing.header(shape, segments, metadata)
    recorded = bench.job.work.header
    if recorded is not None and recorded != base64.b64encode(header).decode():
        raise IntegrityError(
            "The recorded header of the package is not the header of its contents. Nothing was signed.",
            "Check which programs can write to the workspace, then request a new task.",
        )
    return header


def _check_contents(
    bench: JobContext,
    packing: ContainerFormat,
    folder: WorkFolder,
    cipher: ContentCipher,
    header: bytes,
    kept: frozenset[int],
) -> hashlib._Hash:
    """Read all segments back, as a device would, and compare what they decrypt to with the approved inputs.

    A segment that this worker encrypted is compared with its input, which was hashed while it was read; for one of
    an earlier worker, what it decrypts to is hashed. Returns the SHA-256 of header and segments.
    """
    with ExitStack() as stack:
        checks = [
            KeptContent(file) if index in kept else ContentComparison(file, stack.enter_context(bench.open_input(file)))
            for index, file in enumerate(bench.task.inputs)
        ]
        target = stack.enter_context(folder.read(CONTAINER))
        try:
            digest = packing.check_contents(header, target, cipher, [check.update for check in checks], bench.progress)
        except ContainerError as error:
            raise IntegrityError(
                f"The encrypted {error.part} was changed on disk. Nothing was signed.",
                "Check the disk and which programs can write to the workspace, then request a new task.",
            ) from error
        for check in checks:
            check.check()
    return digest


def _finish(
    packing: ContainerFormat,
    shape: PackageLayout,
    folder: WorkFolder,
    header: bytes,
    signature: bytes,
    certificate: str,
) -> int:
    """Write header and signature, check them as they are on disk, and return the size of the container."""
    with folder.write(CONTAINER) as file:
        packing.write_signature(shape, file, header, signature)
        _sync(file)
        packing.check_signature(file, certificate.encode())
        return file.seek(0, os.SEEK_END)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
