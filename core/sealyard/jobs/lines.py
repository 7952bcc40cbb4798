"""Messages on a pipe: one JSON value a line, at most 16 MiB."""

from __future__ import annotations

from typing import Any

import msgspec

from sealyard.model.errors import InputError
from sealyard.model.jobs import FromWorker, ToWorker

LONGEST_LINE = 16 * 1024 * 1024

to_worker: msgspec.json.Decoder[ToWorker] = msgspec.json.Decoder(ToWorker)
from_worker: msgspec.json.Decoder[FromWorker] = msgspec.json.Decoder(FromWorker)
_encoder = msgspec.json.Encoder()


def line(message: Any) -> bytes:
    """``message`` as it goes down a pipe. Raises :class:`InputError` for text that is no Unicode."""
    try:
        return _encoder.encode(message) + b"\n"
    except UnicodeEncodeError:
        raise InputError("A name in it is no valid Unicode.", "Rename the file.") from None
