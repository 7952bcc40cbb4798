"""Packaging: seal each firmware file, sign the header, and check the finished container as a device would."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
from typing import BinaryIO

from sealyard.containers.format import ContainerFormat, PackageShape
from sealyard.containers.registry import container_format
from sealyard.crypto.catalogue import container_input
from sealyard.crypto.streams import ContentCipher
from sealyard.model.errors import WorkerError
from sealyard.model.jobs import Finished, Sealed, SealedSegment
from sealyard.worker.bench import Bench
from sealyard.worker.durable import written_early
from sealyard.worker.workplace import held

CONTAINER = "container"
SEALED_AT_ONCE = 2
"""Files sealed in parallel; each keeps up to two cores busy by itself."""


def shape_of(bench: Bench) -> PackageShape:
    task = bench.task
    assert task.encryption_key is not None
    assert task.signing_key is not None
    assert bench.job.signing_kind is not None
    return PackageShape(
        encryption=task.encryption_key.algorithm,
        signing=task.signing_key.algorithm,
        signing_key_kind=bench.job.signing_kind,
        firmware=tuple((each.name, each.size) for each in task.inputs),
        metadata=tuple((each.name, each.size) for each in task.metadata),
    )


async def package(bench: Bench) -> Finished:
    """Makes the container of a packaging task, taking up what an earlier attempt left."""
    packing = container_format(bench.task.format)
    shape = shape_of(bench)
    bench.progress.total = 2 * bench.task.total_bytes
    async with held(bench.workplace) as place:
        target = place / CONTAINER
        cipher = await bench.cipher()
        segments = await _segments(bench, packing, shape, target, cipher)
        header = _header(bench, packing, shape, segments)
        await bench.leave_to_sign(header, base64.b64encode(header).decode())
        signer = await bench.signer()
        signature = await signer.sign(container_input(shape.signing, header))
        await asyncio.to_thread(_finish, packing, shape, target, header, signature)
        return await asyncio.to_thread(_self_check, bench, packing, target, cipher)


async def _segments(
    bench: Bench, packing: ContainerFormat, shape: PackageShape, target: Path, cipher: ContentCipher
) -> tuple[SealedSegment, ...]:
    target.touch(mode=0o600)
    recorded = {each.index: each for each in bench.job.work.sealed}
    slots = asyncio.Semaphore(SEALED_AT_ONCE)

    async def one(index: int) -> SealedSegment:
        async with slots:
            if index in recorded:
                kept = await asyncio.to_thread(_keep, bench, packing, shape, target, recorded[index])
                if kept is not None:
                    return kept
            segment = await asyncio.to_thread(_seal, bench, packing, shape, target, cipher, index)
            bench.say(Sealed(task_id=bench.task.id, fence=bench.task.fence, segment=segment))
            return segment

    async with asyncio.TaskGroup() as group:
        sealing = [group.create_task(one(index)) for index in range(len(bench.task.inputs))]
    return tuple(each.result() for each in sealing)


def _keep(
    bench: Bench, packing: ContainerFormat, shape: PackageShape, target: Path, segment: SealedSegment
) -> SealedSegment | None:
    """The recorded segment if the file still holds it; sealing it anew would be another signed input."""
    with target.open("rb") as file:
        if packing.sealed_as(shape, segment, file, bench.progress):
            return segment
    if bench.job.work.header is not None:
        raise WorkerError(
            "What was about to be signed is not on the disk any more: a sealed segment has changed.",
            "Check the disk, then ask again with a new task.",
        )
    return None


def _seal(
    bench: Bench, packing: ContainerFormat, shape: PackageShape, target: Path, cipher: ContentCipher, index: int
) -> SealedSegment:
    with bench.open_input(bench.task.inputs[index]) as source, target.open("r+b") as file:
        with written_early(file):
            segment = packing.seal(shape, index, source, file, cipher, bench.progress)
        _sync(file)
    return segment


def _header(bench: Bench, packing: ContainerFormat, shape: PackageShape, segments: tuple[SealedSegment, ...]) -> bytes:
    if bench.job.work.header is not None:
        return base64.b64decode(bench.job.work.header)
    metadata = []
    for each in bench.task.metadata:
        with bench.open_input(each) as file:
            metadata.append((each.name, file.read()))
    return packing.header(shape, segments, metadata)


def _finish(packing: ContainerFormat, shape: PackageShape, target: Path, header: bytes, signature: bytes) -> None:
    with target.open("r+b") as file:
        packing.finish(shape, file, header, signature)
        _sync(file)


def _self_check(bench: Bench, packing: ContainerFormat, target: Path, cipher: ContentCipher) -> Finished:
    """Opens the container with the certificate on record and compares what comes out with what went in."""
    certificate = bench.job.certificate
    assert certificate is not None
    sizes = [each.size for each in bench.task.inputs]
    with target.open("rb") as file:
        found, digests = packing.digests(file, certificate.encode(), cipher, sizes, bench.progress)
    if digests != tuple(each.sha256 for each in bench.task.inputs):
        raise WorkerError("The finished container does not decrypt to its inputs.", "Nothing was released; try again.")
    return Finished(task_id=bench.task.id, fence=bench.task.fence, sha256=found.sha256, size=found.size)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
