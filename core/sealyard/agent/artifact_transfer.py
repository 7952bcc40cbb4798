"""Download of inputs and upload of results, with retries, in constant memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import parse_qs

from sealyard.agent.object_store import GrantRejectedError, ObjectStoreClient, TransientError, split_url
from sealyard.concurrency.backoff import Backoff, RetryDelays
from sealyard.concurrency.threads import CheckCancelled, run_cancellable, run_uncancellable
from sealyard.fs import atomic
from sealyard.fs.regular_file import open_regular
from sealyard.model.clock import Clock
from sealyard.model.errors import DiskFullError, IntegrityError
from sealyard.model.formatting import format_count
from sealyard.model.grants import ContentPart, Grant, InputGrant, ResultContent, ResultGrant
from sealyard.storage.artifacts import FileArtifacts

MAX_SINGLE_BYTES = 5 << 30
"""Largest result that is uploaded in one request; the limit of S3."""

PART_BYTES = 64 << 20
BLOCK_BYTES = 1 << 20
"""Bytes that are hashed, read or written at once, in a thread."""

RETRY_SECONDS = 600.0
"""Time without progress after which a transfer fails."""

MAX_REJECTIONS = 3
"""Number of consecutive grants that the object store may refuse before a transfer fails."""

RETRY_DELAYS = RetryDelays.exponential(0.2, 10.0, jitter=(0.5, 1.0))

RenewInput = Callable[[], Awaitable[InputGrant]]
RenewResult = Callable[[], Awaitable[ResultGrant]]


class PartSizes(NamedTuple):
    """Sizes in bytes for the upload of results: the largest one in a single request, and that of a part."""

    max_single: int = MAX_SINGLE_BYTES
    part: int = PART_BYTES


class ArtifactTransfer:
    """Copies inputs to the folder of workers, and results to the object store.

    ``folder``: that of ``artifacts``. All methods raise :class:`ArtifactStoreError` if the object store refuses the
    request, or is unavailable for :data:`RETRY_SECONDS`, and :class:`StorageError` if the disk does.
    """

    def __init__(
        self, artifacts: FileArtifacts, folder: Path, client: ObjectStoreClient, clock: Clock, sizes: PartSizes
    ) -> None:
        self._artifacts = artifacts
        self._folder = folder
        self._client = client
        self._clock = clock
        self._sizes = sizes

    def check_free_space(self, size: int) -> None:
        """Raise :class:`DiskFullError` if the disk has fewer than ``size`` free bytes."""
        try:
            free_bytes = shutil.disk_usage(self._folder).free
        except OSError as error:
            raise atomic.storage_error(error, "checking the free space") from error
        if size > free_bytes:
            raise DiskFullError(
                f"Not enough disk space on the crypto host: {format_count(size, 'byte')} needed, {free_bytes:,}"
                " available.",
                "Free some space on the crypto host; the task then continues.",
            )

    async def download(self, grant: InputGrant, renew: RenewInput) -> None:
        """Store an input. ``renew``: requests another grant when the store refuses the present one.

        Raises :class:`IntegrityError` if the object has another size or digest.
        """
        file = _IncomingFile(self._folder / "incoming", grant)
        try:
            await run_uncancellable(file.create)
            attempts = _Attempts(self._clock, lambda: file.received)
            while not file.is_complete:
                try:
                    await self._receive(file, grant.grant)
                except (GrantRejectedError, TransientError) as error:
                    if await attempts.wait(error, grant.grant):
                        grant = await renew()
            await run_uncancellable(partial(file.move_to, self._artifacts))
        finally:
            await run_uncancellable(file.discard)

    async def describe_result(self, path: Path) -> ResultContent:
        """Return the digests of a result. Raises :class:`IntegrityError` if the file was replaced by a link."""
        return await run_cancellable(partial(_describe, path, self._sizes))

    async def upload(self, path: Path, content: ResultContent, grant: ResultGrant, renew: RenewResult) -> None:
        """Upload a result. ``renew``: requests other grants when the store refuses the present ones."""
        parts = content.parts or (ContentPart(sha256=content.sha256, size=content.size),)
        done = 0
        attempts = _Attempts(self._clock, lambda: done)
        while done < len(parts):
            part_grant = _select(grant, done, len(parts))
            try:
                await self._send(path, sum(part.size for part in parts[:done]), parts[done].size, part_grant)
                done += 1
            except (GrantRejectedError, TransientError) as error:
                if await attempts.wait(error, part_grant):
                    upload_id = _upload_id(grant)
                    grant = await renew()
                    # Parts belong to one upload: in another one, the store does not have those already sent.
                    done = done if _upload_id(grant) == upload_id else 0

    async def _receive(self, file: _IncomingFile, grant: Grant) -> None:
        async with self._client.get(grant, file.received) as (start, chunks):
            if start != file.received:
                await run_uncancellable(file.restart)
            async for block in _join_blocks(chunks):
                await run_uncancellable(partial(file.write, block))
        if not file.is_complete:
            raise TransientError("The object store sent only a part of an object.", "Check the object store.")

    async def _send(self, path: Path, offset: int, size: int, grant: Grant) -> None:
        file = await run_uncancellable(lambda: os.fdopen(open_regular(path), "rb", buffering=0))
        try:
            await self._client.put(grant, _read_blocks(file, offset, size), size)
        finally:
            file.close()


class _Attempts:
    """Decides after each failure whether to wait, to request another grant, or to give up."""

    def __init__(self, clock: Clock, progress: Callable[[], int]) -> None:
        self._clock = clock
        self._progress = progress
        self._backoff = Backoff(RETRY_DELAYS, clock, timeout=RETRY_SECONDS)
        self._last_progress = 0
        self._rejections = 0

    async def wait(self, error: GrantRejectedError | TransientError, grant: Grant) -> bool:
        """Wait before the next attempt, and return whether it needs another grant. Raises ``error`` to give up."""
        if self._progress() > self._last_progress:
            self._last_progress, self._rejections = self._progress(), 0
            self._backoff.reset()
        if isinstance(error, GrantRejectedError):
            self._rejections += 1
            if self._rejections > MAX_REJECTIONS:
                raise error
            return True
        await self._backoff.wait(error)
        return self._clock.now() >= grant.expires_at


class _IncomingFile:
    """A temporary file that receives an input. All methods block.

    :meth:`discard` must be called at the end, even if :meth:`create` was interrupted or has failed.
    """

    def __init__(self, folder: Path, grant: InputGrant) -> None:
        self._folder = folder
        self._sha256 = grant.sha256
        self._size = grant.size
        self._hasher = hashlib.sha256()
        self.received = 0
        self._fd = -1
        self._path: Path | None = None

    def create(self) -> None:
        """Create the file. Raises :class:`StorageError` if that is not possible."""
        try:
            self._fd, name = tempfile.mkstemp(dir=self._folder)
        except OSError as error:
            raise atomic.storage_error(error, "writing an input") from error
        self._path = Path(name)

    @property
    def is_complete(self) -> bool:
        return self.received == self._size

    def write(self, block: bytes) -> None:
        """Append a block. Raises :class:`IntegrityError` if the object is larger than the input."""
        self.received += len(block)
        if self.received > self._size:
            raise _changed_error(self._sha256)
        self._hasher.update(block)
        try:
            atomic.write_all(self._fd, block)
        except OSError as error:
            raise atomic.storage_error(error, "writing an input") from error

    def restart(self) -> None:
        """Remove the content received so far."""
        self._hasher = hashlib.sha256()
        self.received = 0
        try:
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
        except OSError as error:
            raise atomic.storage_error(error, "writing an input") from error

    def move_to(self, artifacts: FileArtifacts) -> None:
        """Make the file durable and store it. Raises :class:`IntegrityError` if the digest is not that of the input."""
        if self._hasher.hexdigest() != self._sha256:
            raise _changed_error(self._sha256)
        try:
            atomic.sync(self._fd)
        except OSError as error:
            raise atomic.storage_error(error, "writing an input") from error
        assert self._path is not None
        artifacts.move_in(self._path, self._sha256)

    def discard(self) -> None:
        """Close the file, and remove it unless it was moved. Does nothing if it was not created."""
        if self._path is not None:
            os.close(self._fd)
            atomic.remove_quietly(self._path)


async def _join_blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join chunks to blocks of at least :data:`BLOCK_BYTES`, except for the last one. A chunk has at most 64 KiB."""
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        if len(buffer) >= BLOCK_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


async def _read_blocks(file: BinaryIO, offset: int, size: int) -> AsyncIterator[bytes]:
    """Yield ``size`` bytes of the file. Raises :class:`IntegrityError` if it is shorter."""
    end = offset + size
    while offset < end:
        block = await asyncio.to_thread(os.pread, file.fileno(), min(BLOCK_BYTES, end - offset), offset)
        if not block:
            raise IntegrityError("A result was changed on the crypto host.", "Submit the request again.")
        offset += len(block)
        yield block


def _describe(path: Path, sizes: PartSizes, check_cancelled: CheckCancelled) -> ResultContent:
    total = hashlib.sha256()
    try:
        with os.fdopen(open_regular(path), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            part_bytes = size if size <= sizes.max_single else sizes.part
            starts = range(0, size, part_bytes or 1)
            parts = [_hash_part(file, min(part_bytes, size - start), total, check_cancelled) for start in starts]
    except OSError as error:
        raise atomic.storage_error(error, "reading a result") from error
    return ResultContent(sha256=total.hexdigest(), size=size, parts=tuple(parts) if len(parts) > 1 else ())


def _hash_part(file: BinaryIO, size: int, total: hashlib._Hash, check_cancelled: CheckCancelled) -> ContentPart:
    hasher = hashlib.sha256()
    remaining = size
    while remaining and (block := file.read(min(BLOCK_BYTES, remaining))):
        hasher.update(block)
        total.update(block)
        remaining -= len(block)
        check_cancelled(len(block))
    return ContentPart(sha256=hasher.hexdigest(), size=size - remaining)


def _select(grant: ResultGrant, index: int, count: int) -> Grant:
    """Return the grant of a part. Raises :class:`IntegrityError` if the engine granted another number of parts."""
    if len(grant.grants) != count:
        raise IntegrityError("The server granted the upload of other parts than requested.", "Update the server.")
    return grant.grants[index]


def _upload_id(grant: ResultGrant) -> str:
    """Return the id of the multipart upload, or an empty string if the result is uploaded in one request."""
    query = parse_qs(split_url(grant.grants[0]).query) if grant.grants else {}
    return query.get("uploadId", [""])[0]


def _changed_error(sha256: str) -> IntegrityError:
    return IntegrityError(
        f"The object store returned another content for input {sha256[:16]} than was uploaded. Nothing was signed.",
        "Check which programs can write to the bucket, then upload the file again and request a new task.",
    )
