"""A process that issues access tokens on loopback: discovery document, keys, and tokens on request.

Prints its port on the first line of its output. ``POST /configure`` changes its behavior, ``POST /token`` signs the
given claims, ``GET /key-requests`` counts the requests for its keys.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey

ALGORITHMS = {"rsa": "RS256", "ec": "ES256", "okp": "EdDSA"}


class IssuerState:
    """``named`` is the issuer in the discovery document, ``status`` the HTTP status of the keys."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.first_keys = _generate_keys(1)
        self.begin()

    def begin(self) -> None:
        """Reset to the initial state."""
        self.named = self.url
        self.status = 200
        self.key_requests = 0
        self.generation = 1
        self.keys = self.first_keys

    def rotate(self) -> None:
        """Replace the keys. The old ones are no longer published."""
        self.generation += 1
        self.keys = _generate_keys(self.generation)

    def configure(self, changes: dict[str, Any]) -> None:
        if changes.pop("begin", False):
            self.begin()
        if changes.pop("rotate", False):
            self.rotate()
        for name, value in changes.items():
            setattr(self, name, value)

    def token(self, request: dict[str, Any]) -> str:
        kind = request.get("key", "rsa")
        header = {"alg": ALGORITHMS[kind], "kid": self.keys[kind].kid, "typ": "at+jwt", **request.get("header", {})}
        header = {name: value for name, value in header.items() if value is not None}
        allowed = [header["alg"]]
        return jwt.encode(header, request["claims"], self.keys[kind], algorithms=allowed, default_type=None)


class Handler(BaseHTTPRequestHandler):
    state: IssuerState

    def do_GET(self) -> None:
        state = self.state
        match self.path:
            case "/.well-known/openid-configuration":
                self._answer({"issuer": state.named, "jwks_uri": f"{state.url}/keys"})
            case "/keys":
                state.key_requests += 1
                self._answer({"keys": [each.as_dict(private=False) for each in state.keys.values()]}, state.status)
            case "/key-requests":
                self._answer(state.key_requests)
            case _:
                self._answer({}, 404)

    def do_POST(self) -> None:
        request = msgspec.json.decode(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/configure":
            self.state.configure(request)
            self._answer({})
        else:
            self._answer(self.state.token(request))

    def log_message(self, *_: object) -> None:
        return

    def _answer(self, body: Any, status: int = 200) -> None:
        data = msgspec.json.encode(body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _generate_keys(generation: int) -> dict[str, Key]:
    keys = (("rsa", RSAKey.generate_key(2048)), ("ec", ECKey.generate_key("P-256")), ("okp", OKPKey.generate_key()))
    return {name: _with_kid(key, f"{name}-{generation}") for name, key in keys}


def _with_kid(key: Key, kid: str) -> Key:
    return JWKRegistry.import_key({**key.as_dict(private=True), "kid": kid, "use": "sig"})


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.state = IssuerState(f"http://127.0.0.1:{server.server_port}")
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
