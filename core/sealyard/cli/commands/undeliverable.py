"""The lists of messages that could not be delivered, of ``sealyard notification`` and ``sealyard webhook``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_table
from sealyard.model.formatting import format_time

if TYPE_CHECKING:
    from sealyard.client.protocol import Client

_HEADERS = ("ID", "EVENT", "OBJECT", "ATTEMPTS", "FAILED", "ERROR")


class _Receiver(Protocol):
    @property
    def id(self) -> str: ...


class _Message(Protocol):
    """A dead letter or a failed notification."""

    @property
    def id(self) -> str: ...
    @property
    def event(self) -> str: ...
    @property
    def attempts(self) -> int: ...
    @property
    def failed_at(self) -> datetime: ...
    @property
    def error(self) -> str: ...


Message = TypeVar("Message", bound=_Message)


async def list_undeliverable(
    ctx: Context,
    list_receivers: Callable[[Client], Awaitable[Sequence[_Receiver]]],
    list_messages: Callable[[Client, str], Awaitable[Sequence[Message]]],
    get_object: Callable[[Message], str],
    noun: str,
) -> int:
    """List the undeliverable messages of the receiver in the argument ``id``, or else of all receivers.

    ``list_messages`` returns those of the receiver with the given id, and ``get_object`` the id of the task or the URI
    of the key that a message is about. ``noun``: what the messages are called.
    """
    async with ctx.open_reader() as client:
        ids = [ctx.args.id] if ctx.args.id else [receiver.id for receiver in await list_receivers(client)]
        messages = [message for receiver_id in ids for message in await list_messages(client, receiver_id)]
    rows = [
        (
            message.id,
            message.event,
            get_object(message),
            message.attempts,
            format_time(message.failed_at),
            message.error,
        )
        for message in messages
    ]
    ctx.out.result(messages, format_table(_HEADERS, rows, f"No undeliverable {noun}."))
    return ExitCode.OK
