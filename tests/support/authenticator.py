"""A person's authenticator, written from RFC 6238 and RFC 4226 alone: it takes an otpauth URI and shows passwords."""

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
        given = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.label = unquote(parts.path.removeprefix("/"))
        self.issuer = given["issuer"]
        self.secret = base64.b32decode(given["secret"])
        self.digits = int(given.get("digits", "6"))
        self.period = int(given.get("period", "30"))
        assert given.get("algorithm", "SHA1") == "SHA1"

    def step(self, now: datetime) -> int:
        return int(now.timestamp()) // self.period

    def code(self, now: datetime, *, steps_off: int = 0) -> str:
        """``steps_off``: how far its clock is off."""
        return self.code_at_step(self.step(now) + steps_off)

    def code_at_step(self, step: int) -> str:
        mac = hmac.new(self.secret, step.to_bytes(8, "big"), hashlib.sha1).digest()
        offset = mac[-1] & 15
        number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
        return str(number % 10**self.digits).zfill(self.digits)

    def invalid_code(self, now: datetime) -> str:
        """A password that no step near ``now`` has."""
        near = {self.code(now, steps_off=off) for off in range(-100, 100)}
        return next(text for number in range(1000) if (text := f"{number:06}") not in near)
