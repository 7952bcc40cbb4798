"""Uploads that are sent to the object store of the server, if it has one that this client can reach."""

from __future__ import annotations

from sealyard.client.hashing_reader import HashingFileReader
from sealyard.client.http.requests import RequestSender, is_outcome_unknown, json_call, path_segment
from sealyard.model.errors import DirectUploadUnavailableError, NotFoundError, ServerUnreachableError
from sealyard.model.grants import DirectUpload, UploadGrant
from sealyard.model.requests import UploadStatus

MIN_DIRECT_BYTES = 8 << 20
"""Smaller files are sent to the server, which takes fewer requests."""

MAX_ATTEMPTS = 5
"""Number of attempts to send one part. Each has a new grant."""

COMPLETION_SECONDS = 60.0
"""Timeout of a request to complete an upload, which the server answers within 20 seconds."""

COMPLETION_PAUSE_SECONDS = 0.5

_STORED_STATUSES = frozenset({200, 201, 204, 412})
"""412: an earlier attempt, whose response was lost, has stored the content. The server checks that."""


class ObjectStoreFailedError(Exception):
    """The object store cannot be used by this client, for the given reason."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class DirectUploadSession:
    """Sends one file to the object store, with retries."""

    def __init__(self, sender: RequestSender, reader: HashingFileReader, upload_id: str) -> None:
        self._sender = sender
        self._reader = reader
        self._connected = False
        self._path = f"/upload/{path_segment(upload_id)}/direct"

    async def send(self) -> UploadStatus | None:
        """Send the file. Returns None if the server does not offer direct uploads.

        Raises :class:`ObjectStoreFailedError` if the object store cannot be used: then, the file can be sent to the
        server under the same id.
        """
        try:
            upload = await self._begin()
            size, part_size = self._reader.size, max(upload.part_size, 1)
            for number, start in enumerate(range(0, size, part_size), 1):
                await self._send_part(number, start, min(start + part_size, size))
            return await self._complete()
        except DirectUploadUnavailableError:
            return None

    async def _begin(self) -> DirectUpload:
        body = {"name": self._reader.name, "size": self._reader.size}
        try:
            response = await self._sender.send_retrying(json_call("POST", self._path, body), repeatable=True)
        except NotFoundError as error:  # from a server of an older version
            raise DirectUploadUnavailableError(error.message) from None
        return self._sender.decode(response, DirectUpload)

    async def _send_part(self, number: int, start: int, end: int) -> None:
        """Send one part. Raises :class:`ObjectStoreFailedError` at once if no connection was ever possible."""
        sha256 = await self._reader.hash_range(start, end)
        backoff = self._sender.new_endless_backoff()
        for attempt in range(1, MAX_ATTEMPTS + 1):
            grant = await self._request_grant(number, sha256)
            try:
                await self._try_part(grant, start, end)
            except ServerUnreachableError as error:
                is_unusable = not self._connected and not is_outcome_unknown(error)
                if error.is_permanent or is_unusable or attempt == MAX_ATTEMPTS:
                    raise ObjectStoreFailedError(error.message) from None
                await backoff.wait(error)
            else:
                return

    async def _try_part(self, grant: UploadGrant, start: int, end: int) -> None:
        content = self._reader.chunks(start, end)
        status = await self._sender.object_store.send(grant.method, grant, content)
        self._connected = True
        if status not in _STORED_STATUSES:
            raise ServerUnreachableError(f"The object store answered with the status {status}.", "Try again.")

    async def _request_grant(self, number: int, sha256: str) -> UploadGrant:
        call = json_call("POST", f"{self._path}/parts/{number}", {"sha256": sha256})
        return self._sender.decode(await self._sender.send_retrying(call, repeatable=True), UploadGrant)

    async def _complete(self) -> UploadStatus:
        call = json_call(
            "POST",
            f"{self._path}/completion",
            {"sha256": self._reader.file.sha256},
            read_timeout=COMPLETION_SECONDS,
        )
        while True:
            status = self._sender.decode(await self._sender.send_retrying(call, repeatable=True), UploadStatus)
            if status.complete:
                return status
            await self._sender.pause(COMPLETION_PAUSE_SECONDS)
