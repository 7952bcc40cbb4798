"""Forms as a browser writes them, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

BOUNDARY = "----a-boundary-of-ours-7d1"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Field:
    """With a file name it is a file."""

    name: str
    content: bytes
    file_name: str | None = None

    def encoded(self) -> bytes:
        file = "" if self.file_name is None else f'; filename="{self.file_name}"'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{self.name}"{file}\r\n'
        kind = "" if self.file_name is None else "Content-Type: application/octet-stream\r\n"
        return f"{head}{kind}\r\n".encode() + self.content + b"\r\n"


def build_form(fields: Iterable[Field]) -> bytes:
    return b"".join(each.encoded() for each in fields) + f"--{BOUNDARY}--".encode()
