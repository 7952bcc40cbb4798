"""An independent authenticator, implemented from RFC 6238 and RFC 4226: it reads an otpauth URI and generates codes."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime
from urllib.parse import parse_qs, unquote, urlsplit


class Authenticator:
    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
        parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.label = unquote(parts.path.removeprefix("/"))
        self.issuer = parameters["issuer"]
        self.secret = base64.b32decode(parameters["secret"])
        self.digits = int(parameters.get("digits", "6"))
        self.period = int(parameters.get("period", "30"))
        assert parameters.get("algorithm", "SHA1") == "SHA1"

    def step(self, now: datetime) -> int:
        return int(now.timestamp()) // self.period

    def code(self, now: datetime, *, steps_off: int = 0) -> str:
        """Return the code for ``now``, computed with a clock that is wrong by ``steps_off`` steps."""
        return self.code_at_step(self.step(now) + steps_off)

    def code_at_step(self, step: int) -> str:
        mac = hmac.new(self.secret, step.to_bytes(8, "big"), hashlib.sha1).digest()
        offset = mac[-1] & 15
        number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
        return str(number % 10**self.digits).zfill(self.digits)

    def invalid_code(self, now: datetime) -> str:
        """Return a code that is not valid at any step near ``now``."""
        valid_codes = {self.code(now, steps_off=off) for off in range(-100, 100)}
        return next(text for number in range(1000) if (text := f"{number:06}") not in valid_codes)
