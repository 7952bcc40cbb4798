"""The messages between the sender of notifications and its processes."""

from __future__ import annotations

from typing import ClassVar

from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.notifications import MailServer, TargetKind


class SendRequest(SecretStruct, frozen=True, kw_only=True):
    """A message to send. ``message_id`` is the same for each attempt; ``mail_server`` is given for an e-mail."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("message_id", "kind")

    message_id: str
    kind: TargetKind
    address: str
    title: str
    body: str
    mail_server: MailServer | None = None
    password: str = ""
    allow_private: bool = False


class SendOutcome(FrozenStruct, frozen=True, kw_only=True):
    """The outcome of an attempt. ``error`` is empty after success; ``is_transient``: a later attempt may succeed."""

    error: str = ""
    is_transient: bool = False
