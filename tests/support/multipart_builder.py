"""Builds multipart forms like a browser."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

BOUNDARY = "----form-boundary-7d1"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Field:
    """A form field, or a file if it has a file name."""

    name: str
    content: bytes
    file_name: str | None = None

    def encode(self) -> bytes:
        file = "" if self.file_name is None else f'; filename="{self.file_name}"'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{self.name}"{file}\r\n'
        kind = "" if self.file_name is None else "Content-Type: application/octet-stream\r\n"
        return f"{head}{kind}\r\n".encode() + self.content + b"\r\n"


def build_form(fields: Iterable[Field]) -> bytes:
    return b"".join(each.encode() for each in fields) + f"--{BOUNDARY}--".encode()
