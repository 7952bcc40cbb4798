"""Uploads: files that come in piece by piece, and what is known of each."""

from __future__ import annotations

from sealyard.model.value import FrozenStruct


class UploadStatus(FrozenStruct, frozen=True, kw_only=True):
    """An upload as its owner sees it. ``size`` and ``offset`` in bytes; the next byte wanted is that at ``offset``.

    ``size`` None: not said beforehand; the content ends where the one request that sends it does. ``sha256`` (hex)
    is there once it is complete. ``name`` is foreign text.
    """

    id: str
    name: str
    size: int | None
    offset: int = 0
    sha256: str | None = None
    complete: bool = False
