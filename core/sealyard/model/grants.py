"""Permissions to read or write single objects of an object store."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sealyard.model.base import FrozenStruct, SecretStruct


class Grant(SecretStruct, frozen=True, kw_only=True):
    """Permission to read or write one object for a limited time, without other credentials.

    ``url``: contains the signature, so it is a secret until ``expires_at``. ``headers``: must be sent exactly like
    this, because they are signed, too.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("expires_at",)

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    expires_at: datetime


class UploadGrant(Grant, frozen=True, kw_only=True):
    """Permission to store the content of an upload, or one part of it, with a request of this method."""

    method: str = "PUT"


class DirectUpload(FrozenStruct, frozen=True, kw_only=True):
    """An upload that the client sends to the object store itself, each part with a grant of its own.

    ``parts``: number of parts; usually 1. ``part_size``: size of all parts but the last one, in bytes.
    """

    parts: int
    part_size: int
