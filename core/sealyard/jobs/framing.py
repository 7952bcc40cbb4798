"""Messages on a pipe: one JSON value a line, at most 16 MiB."""

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
    """``message`` as it goes down a pipe. Raises :class:`InvalidInputError` for text that is no Unicode."""
    try:
        return _encoder.encode(message) + b"\n"
    except UnicodeEncodeError:
        raise InvalidInputError("A name in it is no valid Unicode.", "Rename the file.") from None
