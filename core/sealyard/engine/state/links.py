"""Signed download links. Each link expires and is valid for one artifact.

The format is ``sealyard:<workspace id>/<task id>?expires=<seconds since the epoch, rounded up>&signature=<hex>``. The
signature is HMAC-SHA256 over the text before ``&``, under a random key of the workspace (32 bytes, in a file of mode
0600).
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from datetime import UTC, datetime
from pathlib import Path

from sealyard.fs.private import KEY_BYTES, create_random_key
from sealyard.model.errors import PermissionDeniedError, ResultExpiredError
from sealyard.model.hints import Hint, HintCode

_LINK = re.compile(r"(sealyard:([^/?]+)/([^/?]+)\?expires=(\d{1,12}))&signature=([0-9a-f]{64})")


class DownloadLinks:
    """Signs and verifies the download links of one workspace."""

    def __init__(self, workspace_id: str, key: bytes) -> None:
        self._workspace_id = workspace_id
        self._key = key

    @classmethod
    def open(cls, workspace_id: str, key_file: Path) -> DownloadLinks:
        """Load the link key, or create it if it does not exist.

        A key file of the wrong length, which a crash left incomplete, is replaced, because anyone could sign links with
        an empty key. Links signed with the previous key become invalid.
        """
        if not key_file.exists() or key_file.stat().st_size != KEY_BYTES:
            create_random_key(key_file, "the link key")
        return cls(workspace_id, key_file.read_bytes())

    def sign(self, task_id: str, expires_at: datetime) -> str:
        """Return a link to the task's artifact that is valid until ``expires_at``."""
        unsigned_link = f"sealyard:{self._workspace_id}/{task_id}?expires={math.ceil(expires_at.timestamp())}"
        return f"{unsigned_link}&signature={self._compute_signature(unsigned_link)}"

    def verify(self, link: str, now: datetime) -> str:
        """Return the id of the task whose artifact ``link`` gives access to.

        Raises :class:`PermissionDeniedError` if this workspace did not sign the link, :class:`ResultExpiredError` if
        it has expired.
        """
        match = self._match_signed_link(link)
        if now >= datetime.fromtimestamp(int(match[4]), UTC):
            raise ResultExpiredError("The link has expired.", Hint.of(HintCode.RENEW_LINK, task_id=match[3]))
        return match[3]

    def task_id_of(self, link: str) -> str:
        """Return the task id like :meth:`verify`, but accept an expired link.

        Raises :class:`PermissionDeniedError` if this workspace did not sign the link.
        """
        return self._match_signed_link(link)[3]

    def _match_signed_link(self, link: str) -> re.Match[str]:
        """Return the match of :data:`_LINK` for a link, after verifying its signature.

        Raises :class:`PermissionDeniedError` if this workspace did not sign the link.
        """
        match = _LINK.fullmatch(link)
        if (
            match is None
            or match[2] != self._workspace_id
            or not hmac.compare_digest(self._compute_signature(match[1]), match[5])
        ):
            raise PermissionDeniedError("This link does not belong to this workspace.", "Request a new link.")
        return match

    def _compute_signature(self, unsigned_link: str) -> str:
        return hmac.new(self._key, unsigned_link.encode(), hashlib.sha256).hexdigest()
