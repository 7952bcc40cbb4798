"""API calls for results: renewal, certificates, and downloads that resume after a lost connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from sealyard.client.http.errors import RetryLaterError
from sealyard.client.http.requests import ApiCalls, path_segment
from sealyard.client.http.transport import Request, ResponseStream
from sealyard.model.errors import DownloadError, ServerUnreachableError, UsageError
from sealyard.model.tasks import Task

CHUNK = 1 << 18  # bytes


class ResultCalls(ApiCalls):
    """API calls for results."""

    async def renew(self, task_id: str) -> Task:
        return await self._sender.send("POST", f"/task/{path_segment(task_id)}/renewal", None, Task)

    async def download(self, task_id: str, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        if offset < 0:
            raise UsageError("A download offset cannot be negative.", "Use an offset of 0 or more.")
        done, etag = offset, ""
        if offset:
            result = (await self._sender.get(f"/task/{path_segment(task_id)}", Task)).result
            if result is not None and result.size == offset:
                return
            etag = f'"{result.sha256}"' if result is not None and result.sha256 else ""
        backoff = self._sender.new_backoff()
        while True:
            try:
                async with self._sender.stream(_range_request(task_id, done, etag)) as stream:
                    _require_partial(stream, task_id, done)
                    etag = stream.headers.get("etag", "")
                    async for chunk in stream.chunks(CHUNK):
                        done += len(chunk)
                        backoff.reset()
                        self._sender.mark_alive()
                        yield chunk
                return
            except (ServerUnreachableError, RetryLaterError) as error:
                await self._sender.wait(backoff, error)

    async def report_downloaded(self, task_id: str) -> None:
        # If a response is lost, the audit log gets this entry twice; without a repetition it might lack the entry.
        await self._sender.send_retrying(
            Request(method="POST", path=f"/task/{path_segment(task_id)}/receipt"), repeatable=True
        )

    async def certificate(self, task_id: str) -> str:
        return (await self._sender.read(f"/task/{path_segment(task_id)}/certificate")).body.decode()


def _range_request(task_id: str, done: int, etag: str) -> Request:
    """Return the request for the content from byte ``done`` on.

    ``etag`` identifies the content that the first ``done`` bytes belong to; if it has changed, the server sends all of
    the new content.
    """
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    if done and etag:
        headers["If-Range"] = etag
    return Request(method="GET", path=f"/task/{path_segment(task_id)}/download", headers=headers)


def _require_partial(stream: ResponseStream, task_id: str, done: int) -> None:
    """Raise :class:`DownloadError` unless the response continues at byte ``done``."""
    if done and not stream.headers.get("content-range", "").startswith(f"bytes {done}-"):
        raise DownloadError(
            f"The result of task {task_id} changed during the download.", "Download it again from the beginning."
        )
