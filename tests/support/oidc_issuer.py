"""A real OIDC issuer in its own process, and its control interface for tests."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from sealyard.server.auth import jwks
from tests.support.limits import TIMEOUT

AUDIENCE = "sealyard"


class OidcIssuer:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.url = f"http://127.0.0.1:{int(process.stdout.readline())}"

    @property
    def key_requests(self) -> int:
        """The number of requests for its keys."""
        return int(self._call("/key-requests"))

    @property
    def keys(self) -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = self._call("/keys")["keys"]
        return keys

    def configure(self, **changes: Any) -> None:
        """Rotate the keys (``rotate=True``), reset the issuer (``begin=True``) or set attributes of ``IssuerState``."""
        self._call("/configure", changes)

    def token(self, *, key: str = "rsa", header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a valid token of anna with the given changes. A claim or header of None is omitted."""
        return str(self._call("/token", {"key": key, "header": header or {}, "claims": self.claims(**claims)}))

    def claims(self, **claims: Any) -> dict[str, Any]:
        now = int(time.time())
        defaults = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "5d0c6a0e",
            "preferred_username": "anna",
            "azp": "web",
            "roles": ["devs"],
            "iat": now,
            "exp": now + 300,
        }
        return {name: value for name, value in {**defaults, **claims}.items() if value is not None}

    def _call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else msgspec.json.encode(body)
        with urllib.request.urlopen(f"{self.url}{path}", data, timeout=TIMEOUT) as response:
            return msgspec.json.decode(response.read())


@contextmanager
def run_issuer() -> Iterator[OidcIssuer]:
    """Run an issuer in a process of its own, which on a busy machine may answer later than a server waits for it."""
    script = Path(__file__).with_name("oidc_issuer_process.py")
    with (
        patch.object(jwks, "FETCH_TIMEOUT", TIMEOUT),
        subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process,
    ):
        try:
            yield OidcIssuer(process)
        finally:
            process.kill()
