"""Key commands to the worker of a crypto host, encrypted to the sealing key of the zone, and their responses."""

from __future__ import annotations

import msgspec

from sealyard.crypto.sealing import COMMAND_INFO, RESPONSE_INFO, seal, unseal
from sealyard.jobs.framing import encode_json
from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import IntegrityError
from sealyard.model.worker_messages import KeyResponse
from sealyard.model.zone_messages import CommandContent, SealedCommand, SealedResponse

_decoder: msgspec.json.Decoder[CommandContent] = msgspec.json.Decoder(CommandContent)


def open_command(sealing_key: bytes, command: SealedCommand) -> CommandContent:
    """Return the content of a verified command.

    Raises :class:`IntegrityError` if it is encrypted to another zone, or cannot be read.
    """
    plaintext = unseal(sealing_key, command.ciphertext, COMMAND_INFO)
    try:
        content = _decoder.decode(plaintext)
    except JSON_ERRORS:
        raise _unreadable_error() from None
    if content.request_id != command.request_id:
        raise _unreadable_error()
    return content


def seal_response(reply_key: bytes, response: KeyResponse) -> SealedResponse:
    """Return the response to a command, encrypted to its reply key."""
    ciphertext = seal(reply_key, encode_json(response), RESPONSE_INFO)
    return SealedResponse(request_id=response.request_id, ciphertext=ciphertext)


def _unreadable_error() -> IntegrityError:
    return IntegrityError(
        "A key command of the engine cannot be read.", "Install the same version on servers and crypto hosts."
    )
