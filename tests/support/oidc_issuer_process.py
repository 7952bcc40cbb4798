"""An issuer of access tokens, as a process of its own on loopback: discovery, keys, and tokens made to order.

Says its port on the first line of its output. ``POST /told`` changes how it behaves, ``POST /token`` signs what it is
given, ``GET /asked`` counts the requests for its keys.
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
    """``named``: what its discovery document says it is called; ``status``: what its keys are answered with."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.first_keys = _made_keys(1)
        self.begin()

    def begin(self) -> None:
        """As it was at the beginning."""
        self.named = self.url
        self.status = 200
        self.asked = 0
        self.generation = 1
        self.keys = self.first_keys

    def rotate(self) -> None:
        """New keys; the old ones are published no more."""
        self.generation += 1
        self.keys = _made_keys(self.generation)

    def told(self, what: dict[str, Any]) -> None:
        if what.pop("begin", False):
            self.begin()
        if what.pop("rotate", False):
            self.rotate()
        for name, value in what.items():
            setattr(self, name, value)

    def token(self, order: dict[str, Any]) -> str:
        kind = order.get("key", "rsa")
        header = {"alg": ALGORITHMS[kind], "kid": self.keys[kind].kid, "typ": "at+jwt", **order.get("header", {})}
        header = {name: value for name, value in header.items() if value is not None}
        allowed = [header["alg"]]
        return jwt.encode(header, order["claims"], self.keys[kind], algorithms=allowed, default_type=None)


class Handler(BaseHTTPRequestHandler):
    issuing: IssuerState

    def do_GET(self) -> None:
        issuing = self.issuing
        match self.path:
            case "/.well-known/openid-configuration":
                self._answer({"issuer": issuing.named, "jwks_uri": f"{issuing.url}/keys"})
            case "/keys":
                issuing.asked += 1
                self._answer({"keys": [each.as_dict(private=False) for each in issuing.keys.values()]}, issuing.status)
            case "/asked":
                self._answer(issuing.asked)
            case _:
                self._answer({}, 404)

    def do_POST(self) -> None:
        order = msgspec.json.decode(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/told":
            self.issuing.told(order)
            self._answer({})
        else:
            self._answer(self.issuing.token(order))

    def log_message(self, *_: object) -> None:
        return

    def _answer(self, body: Any, status: int = 200) -> None:
        data = msgspec.json.encode(body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _made_keys(generation: int) -> dict[str, Key]:
    made = (("rsa", RSAKey.generate_key(2048)), ("ec", ECKey.generate_key("P-256")), ("okp", OKPKey.generate_key()))
    return {name: _named(key, f"{name}-{generation}") for name, key in made}


def _named(key: Key, kid: str) -> Key:
    return JWKRegistry.import_key({**key.as_dict(private=True), "kid": kid, "use": "sig"})


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.issuing = IssuerState(f"http://127.0.0.1:{server.server_port}")
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
