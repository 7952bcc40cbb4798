"""Grants: permissions to read or write one object in an object store for a limited time."""

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


class InputGrant(FrozenStruct, frozen=True, kw_only=True):
    """Permission to read an input. ``sha256``: hex."""

    sha256: str
    size: int
    grant: Grant


class ContentPart(FrozenStruct, frozen=True, kw_only=True):
    """A part of an object that is uploaded in several parts. ``sha256``: hex."""

    sha256: str
    size: int


class ResultContent(FrozenStruct, frozen=True, kw_only=True):
    """The content of a result that is about to be uploaded. ``sha256``: hex. ``parts``: empty for a single upload."""

    sha256: str
    size: int
    parts: tuple[ContentPart, ...] = ()


class ResultGrant(FrozenStruct, frozen=True, kw_only=True):
    """Permission to write a result: one grant, or one for each part. ``sha256`` (hex): that of the content."""

    sha256: str
    grants: tuple[Grant, ...]


class UploadGrant(Grant, frozen=True, kw_only=True):
    """Permission to store the content of an upload, or one part of it, with a request of this method."""

    method: str = "PUT"


class DirectUpload(FrozenStruct, frozen=True, kw_only=True):
    """An upload that the client sends to the object store itself, each part with a grant of its own.

    ``parts``: number of parts; usually 1. ``part_size``: size of all parts but the last one, in bytes.
    """

    parts: int
    part_size: int
