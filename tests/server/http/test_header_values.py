"""Property test: no value of a header that the server reads causes an internal error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.extent import scale_examples
from tests.support.server_app import create_app
from tests.support.server_harness import ADMIN, run_server
from tests.support.workspace_copies import copy_workspace

LIST, UPLOAD, OWN_UPLOAD = "/api/v1/acl", "/api/v1/upload", "/api/v1/upload/an-upload-of-mine"
PACKAGE, SIGNING, RESULT = "/api/v1/packagingTask", "/api/v1/signingTask", "/api/v1/packagingTask/unknown/download"
REQUESTS = (
    ("GET", LIST, "authorization"),
    ("GET", LIST, "x-se-tenant"),
    ("GET", LIST, "x-se-subject"),
    ("GET", LIST, "x-request-id"),
    ("GET", LIST, "x-forwarded-for"),
    ("GET", LIST, "accept"),
    ("GET", LIST, "cookie"),
    ("GET", LIST, "host"),
    ("GET", "/metrics", "x-forwarded-host"),
    ("GET", "/api/v1/events", "last-event-id"),
    ("GET", RESULT, "range"),
    ("GET", RESULT, "if-range"),
    ("GET", RESULT, "if-none-match"),
    ("POST", UPLOAD, "upload-metadata"),
    ("POST", UPLOAD, "upload-length"),
    ("POST", UPLOAD, "tus-resumable"),
    ("POST", UPLOAD, "content-length"),
    ("PATCH", OWN_UPLOAD, "upload-offset"),
    ("PATCH", OWN_UPLOAD, "content-type"),
    ("PUT", OWN_UPLOAD, "content-length"),
    ("PUT", OWN_UPLOAD, "content-type"),
    ("POST", PACKAGE, "content-type"),
    ("POST", PACKAGE, "idempotency-key"),
    ("POST", SIGNING, "content-type"),
    ("POST", SIGNING, "content-length"),
    ("POST", SIGNING, "idempotency-key"),
)
OTHER_HEADERS = {
    ("POST", UPLOAD): {"upload-length": b"10"},
    ("PATCH", OWN_UPLOAD): {"upload-offset": b"0", "content-type": b"application/offset+octet-stream"},
}
"""Headers without which the request would be rejected before the tested header is read."""

LONG_NUMBER = b"9" * 5000  # int() rejects more than 4300 digits
values = st.one_of(
    st.binary(max_size=60),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=60).map(
        lambda text: text.encode("latin-1")
    ),
    st.integers().map(lambda number: str(number).encode()),
    st.sampled_from([LONG_NUMBER, b"filename \xe9", b"filename /w==", b"Bearer \xe9", b"bytes=0-" + LONG_NUMBER]),
    st.sampled_from(
        [b"multipart/form-data; boundary=\xe9", b"text/plain; charset=\xff", b"application/json; charset=no"]
    ),
)

Send = Callable[[str, str, str, bytes], tuple[int, bytes]]


@pytest.fixture(scope="module")
def send(workspace_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Send]:
    """Return a function that sends an administrator's request with one header value to the application."""
    folder = copy_workspace(workspace_template, tmp_path_factory.mktemp("headers") / "workspace")
    with asyncio.Runner() as runner:
        server = run_server({"one": folder})
        harness = runner.run(server.__aenter__())
        app = create_app(harness.tenants, harness.identity)
        token = runner.run(harness.token(ADMIN))

        def send_request(method: str, path: str, name: str, value: bytes) -> tuple[int, bytes]:
            other_headers = {"authorization": f"Bearer {token}".encode(), **OTHER_HEADERS.get((method, path), {})}
            return runner.run(call(app, method, path, {**other_headers, name: value}))

        try:
            yield send_request
        finally:
            runner.run(server.__aexit__(None, None, None))


async def call(app: Any, method: str, path: str, headers: dict[str, bytes]) -> tuple[int, bytes]:
    """Send a request without a body; return the status and body of the response. Event streams are ended at once."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path.partition("?")[0],
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": path.partition("?")[2].encode(),
        "headers": [(name.encode(), value) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
        "extensions": {},
    }
    response: list[dict[str, Any]] = []
    started = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not started.is_set():
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        response.append(message)
        started.set()

    request_task = asyncio.create_task(app(scope, receive, send))
    await asyncio.wait({request_task, asyncio.create_task(started.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if path.endswith("/events") and response[0]["status"] == 200:
        request_task.cancel()
    await asyncio.wait({request_task})
    return response[0]["status"], b"".join(message.get("body", b"") for message in response)


@settings(max_examples=scale_examples(300), deadline=None)
@given(request=st.sampled_from(REQUESTS), value=values)
@example(request=("POST", UPLOAD, "upload-metadata"), value=b"filename \xe9")
@example(request=("POST", UPLOAD, "content-length"), value=b"1\xe9")
def test_no_header_value_causes_internal_error(send: Send, request: tuple[str, str, str], value: bytes) -> None:
    status, body = send(*request, value)
    assert status < 500, (request, value, body)
    if status >= 400:
        assert json.loads(body)["code"]


@pytest.mark.parametrize("cursor", [LONG_NUMBER, b"%D9%A3", b"-1"])
def test_invalid_audit_cursor_is_rejected(send: Send, cursor: bytes) -> None:
    status, body = send("GET", "/api/v1/acl/auditlog?cursor=" + cursor.decode(), "accept", b"*/*")
    assert status == 400, body
