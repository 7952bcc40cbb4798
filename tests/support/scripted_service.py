"""A key service on loopback that sends the given responses one after the other, and repeats the last one."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple


class ScriptedResponse(NamedTuple):
    status: int
    body: str = "{}"


def kms_failure(status: int, code: str, message: str = "") -> ScriptedResponse:
    """Return an error of AWS KMS."""
    return ScriptedResponse(status, json.dumps({"__type": code, "message": message}))


class ScriptedService:
    """``requests``: the operations of AWS KMS or the paths that were requested."""

    def __init__(self, url: str, responses: Sequence[ScriptedResponse]) -> None:
        self.url = url
        self.requests: list[str] = []
        self._responses = list(responses)

    def next_response(self, request: str) -> ScriptedResponse:
        self.requests.append(request)
        return self._responses.pop(0) if len(self._responses) > 1 else self._responses[0]


@contextmanager
def run_scripted_service(
    *responses: ScriptedResponse, certificate: Path | None = None, key: Path | None = None
) -> Iterator[ScriptedService]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            self._respond()

        def _respond(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            target = self.headers["X-Amz-Target"]
            response = service.next_response(target.partition(".")[2] if target else self.path)
            data = response.body.encode()
            self.send_response(response.status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    service = ScriptedService(f"{scheme}://127.0.0.1:{server.server_port}", responses)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
