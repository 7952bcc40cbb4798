"""A server on loopback that answers each request with the next of the given responses, and the last one for ever."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple


class ScriptedAnswer(NamedTuple):
    """``code``: the error code of AWS; empty for a success with the content ``body``."""

    status: int
    code: str = ""
    message: str = ""
    body: dict[str, Any] | None = None


class ScriptedKms:
    """``requests``: the operations that were requested."""

    def __init__(self, url: str, answers: Sequence[ScriptedAnswer]) -> None:
        self.url = url
        self.answers = list(answers)
        self.requests: list[str] = []

    def next_answer(self) -> ScriptedAnswer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def run_scripted_kms(
    *answers: ScriptedAnswer, certificate: Path | None = None, key: Path | None = None
) -> Iterator[ScriptedKms]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            script.requests.append(self.headers["X-Amz-Target"].partition(".")[2])
            answer = script.next_answer()
            content = {"__type": answer.code, "message": answer.message} if answer.code else answer.body or {}
            data = json.dumps(content).encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
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
    script = ScriptedKms(f"{scheme}://127.0.0.1:{server.server_port}", answers)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
