"""API calls for results: renewal, certificates, and downloads that resume after a lost connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from sealyard.client.http.errors import RetryLaterError
from sealyard.client.http.requests import ApiCalls, path_segment
from sealyard.client.http.transport import API, Request, ResponseStream
from sealyard.model.errors import DownloadError, ServerUnreachableError, UsageError
from sealyard.model.tasks import Task

CHUNK_BYTES = 1 << 18


def link_url(server: str, link: str) -> str:
    """Return the URL of a ``sealyard:…`` link on the server with the base URL ``server``."""
    return f"{server}{API}/link/{link.partition(':')[2]}"


class ResultCalls(ApiCalls):
    """API calls for results."""

    async def renew(self, task_id: str) -> Task:
        return await self._sender.send("POST", f"/task/{path_segment(task_id)}/renewal", None, Task)

    async def download(self, task_id: str, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        if offset < 0:
            raise UsageError("A download offset cannot be negative.", "Use an offset of 0 or more.")
        bytes_done, etag = offset, ""
        if offset:
            result = (await self._sender.get(f"/task/{path_segment(task_id)}", Task)).result
            if result is not None and result.size == offset:
                return
            etag = f'"{result.sha256}"' if result is not None and result.sha256 else ""
        backoff = self._sender.new_backoff()
        while True:
            try:
                async with self._sender.stream(_build_range_request(task_id, bytes_done, etag)) as stream:
                    _require_continuation(stream, task_id, bytes_done)
                    etag = stream.headers.get("etag", "")
                    async for chunk in stream.chunks(CHUNK_BYTES):
                        bytes_done += len(chunk)
                        backoff.reset()
                        self._sender.mark_alive()
                        yield chunk
                return
            except (ServerUnreachableError, RetryLaterError) as error:
                await self._sender.wait(backoff, error)

    async def report_downloaded(self, task_id: str) -> None:
        # Repeating the request after a lost response may add a second audit entry; not repeating it may lose the entry.
        await self._sender.send_retrying(
            Request(method="POST", path=f"/task/{path_segment(task_id)}/receipt"), repeatable=True
        )

    async def certificate(self, task_id: str) -> str:
        return (await self._sender.read(f"/task/{path_segment(task_id)}/certificate")).body.decode()


def _build_range_request(task_id: str, bytes_done: int, etag: str) -> Request:
    """Return the request for the task's artifact from byte ``bytes_done`` on.

    ``etag`` identifies the content to which the first ``bytes_done`` bytes belong. If the artifact has changed since,
    the server sends the whole new content.
    """
    headers = {"Accept-Encoding": "identity"}
    if bytes_done:
        headers["Range"] = f"bytes={bytes_done}-"
    if bytes_done and etag:
        headers["If-Range"] = etag
    return Request(method="GET", path=f"/task/{path_segment(task_id)}/download", headers=headers)


def _require_continuation(stream: ResponseStream, task_id: str, bytes_done: int) -> None:
    """Raise :class:`DownloadError` unless the response continues at byte ``bytes_done``."""
    if bytes_done and not stream.headers.get("content-range", "").startswith(f"bytes {bytes_done}-"):
        raise DownloadError(
            f"The result of task {task_id} changed during the download.", "Download it again from the beginning."
        )
