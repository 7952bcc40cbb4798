"""Permissions to read or write single objects of an object store."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sealyard.model.base import SecretStruct


class Grant(SecretStruct, frozen=True, kw_only=True):
    """Permission to read or write one object for a limited time, without other credentials.

    ``url``: contains the signature, so it is a secret until ``expires_at``. ``headers``: must be sent exactly like
    this, because they are signed, too.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("expires_at",)

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    expires_at: datetime
