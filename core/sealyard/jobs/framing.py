"""Framing of messages on a worker's pipes: one JSON value per line, of at most 16 MiB."""

from __future__ import annotations

from typing import Any

import msgspec

from sealyard.model.errors import InvalidInputError
from sealyard.model.worker_messages import FromWorker, ToWorker

MAX_LINE_BYTES = 16 * 1024 * 1024

decode_request: msgspec.json.Decoder[ToWorker] = msgspec.json.Decoder(ToWorker)
decode_report: msgspec.json.Decoder[FromWorker] = msgspec.json.Decoder(FromWorker)
_encoder = msgspec.json.Encoder()


def encode_line(message: Any) -> bytes:
    """Encode ``message`` as one line. Raises the error of :func:`encode_json`."""
    return encode_json(message) + b"\n"


def encode_json(message: Any) -> bytes:
    """Encode ``message``. Raises :class:`InvalidInputError` if a string in it is not valid Unicode."""
    try:
        return _encoder.encode(message)
    except UnicodeEncodeError:
        raise InvalidInputError("A name in the request is not valid Unicode.", "Rename the file.") from None
