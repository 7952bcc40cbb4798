"""API calls for results: renewal, certificates, and downloads that resume after a lost connection."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator

from sealyard.client.http.errors import RetryLaterError
from sealyard.client.http.requests import TEMPORARY_REDIRECT, ApiCalls, is_outcome_unknown, path_segment
from sealyard.client.http.transport import API, Request, ResponseStream
from sealyard.model.errors import DownloadError, ServerUnreachableError, UsageError
from sealyard.model.tasks import Task

CHUNK_BYTES = 1 << 18

log = logging.getLogger(__name__)


def link_url(server: str, link: str) -> str:
    """Return the URL of a ``sealyard:…`` link on the server with the base URL ``server``."""
    return f"{server}{API}/link/{link.partition(':')[2]}"


class ResultCalls(ApiCalls):
    """API calls for results."""

    _can_redirect = True
    """Whether the object store of the server can be reached, as far as known."""

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
                async with self._open(task_id, bytes_done, etag) as (stream, etag):
                    async for chunk in stream.chunks(CHUNK_BYTES):
                        bytes_done += len(chunk)
                        backoff.reset()
                        self._sender.mark_alive()
                        yield chunk
                return
            except (ServerUnreachableError, RetryLaterError) as error:
                await self._sender.wait(backoff, error)

    @contextlib.asynccontextmanager
    async def _open(self, task_id: str, bytes_done: int, etag: str) -> AsyncIterator[tuple[ResponseStream, str]]:
        """Open the task's artifact at byte ``bytes_done``, and return its ETag, too."""
        request = _build_range_request(task_id, bytes_done, etag, redirect=self._can_redirect)
        async with self._sender.stream(request, allow_redirect=True) as stream:
            new_etag = stream.headers.get("etag", "")
            if stream.status != TEMPORARY_REDIRECT:
                _require_continuation(stream, task_id, bytes_done)
                yield stream, new_etag
                return
            await stream.read()  # so that the connection can be used again
        if bytes_done and etag and new_etag != etag:
            raise _changed_error(task_id)
        async with self._open_redirected(stream.headers.get("location", ""), bytes_done) as stored:
            _require_continuation(stored, task_id, bytes_done)
            yield stored, new_etag

    @contextlib.asynccontextmanager
    async def _open_redirected(self, url: str, bytes_done: int) -> AsyncIterator[ResponseStream]:
        """Open an artifact in the object store. If that cannot be reached, ask for no more redirects."""
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={bytes_done}-"} if bytes_done else {})}
        try:
            async with self._sender.object_store.stream(url, headers) as stream:
                if stream.status >= 300:  # noqa: PLR2004
                    raise ServerUnreachableError(f"The object store answered with the status {stream.status}.")
                yield stream
        except ServerUnreachableError as error:
            if is_outcome_unknown(error):
                raise
            self._can_redirect = False
            log.warning("downloading from the server: the object store cannot be used: %s", error.message)
            raise ServerUnreachableError(error.message, error.structured_hint) from None

    async def report_downloaded(self, task_id: str) -> None:
        # Repeating the request after a lost response may add a second audit entry; not repeating it may lose the entry.
        await self._sender.send_retrying(
            Request(method="POST", path=f"/task/{path_segment(task_id)}/receipt"), repeatable=True
        )

    async def certificate(self, task_id: str) -> str:
        return (await self._sender.read(f"/task/{path_segment(task_id)}/certificate")).body.decode()


def _build_range_request(task_id: str, bytes_done: int, etag: str, *, redirect: bool) -> Request:
    """Return the request for the task's artifact from byte ``bytes_done`` on.

    ``etag`` identifies the content to which the first ``bytes_done`` bytes belong. If the artifact has changed since,
    the server sends the whole new content. ``redirect``: whether the server may redirect to its object store.
    """
    headers = {"Accept-Encoding": "identity"}
    if bytes_done:
        headers["Range"] = f"bytes={bytes_done}-"
    if bytes_done and etag:
        headers["If-Range"] = etag
    query = {} if redirect else {"redirect": "false"}
    return Request(method="GET", path=f"/task/{path_segment(task_id)}/download", query=query, headers=headers)


def _require_continuation(stream: ResponseStream, task_id: str, bytes_done: int) -> None:
    """Raise :class:`DownloadError` unless the response continues at byte ``bytes_done``."""
    if bytes_done and not stream.headers.get("content-range", "").startswith(f"bytes {bytes_done}-"):
        raise _changed_error(task_id)


def _changed_error(task_id: str) -> DownloadError:
    return DownloadError(
        f"The result of task {task_id} changed during the download.", "Download it again from the beginning."
    )
