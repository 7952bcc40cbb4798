"""Signed download links. Each link expires and is valid for one artifact.

The format is ``sealyard:<workspace id>/<task id>?expires=<seconds since the epoch, rounded up>&signature=<hex>``. The
signature is HMAC-SHA256 over the text before ``&``, under a key derived from the master key of the workspace.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from datetime import UTC, datetime

from sealyard.model.errors import KeyStoreLockedError, PermissionDeniedError, ResultExpiredError
from sealyard.model.hints import Hint, HintCode

_LINK = re.compile(r"(sealyard:([^/?]+)/([^/?]+)\?expires=(\d{1,12}))&signature=([0-9a-f]{64})")


class DownloadLinks:
    """Signs and verifies the download links of one workspace.

    ``key`` is None in an engine that only reads: the key store is not open then. Such an engine serves only its own
    user, who can read the results anyway, so it checks what a link says, but not its signature.
    """

    def __init__(self, workspace_id: str, key: bytes | None) -> None:
        self._workspace_id = workspace_id
        self._key = key

    def sign(self, task_id: str, expires_at: datetime) -> str:
        """Return a link to the task's artifact that is valid until ``expires_at``.

        Raises :class:`KeyStoreLockedError` without a key.
        """
        unsigned_link = f"sealyard:{self._workspace_id}/{task_id}?expires={math.ceil(expires_at.timestamp())}"
        if self._key is None:
            raise KeyStoreLockedError("The workspace is open read-only.", "Open it for writing.")
        return f"{unsigned_link}&signature={_compute_signature(self._key, unsigned_link)}"

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
        if match is None or match[2] != self._workspace_id or not self._has_valid_signature(match):
            raise PermissionDeniedError("This link does not belong to this workspace.", "Request a new link.")
        return match

    def _has_valid_signature(self, match: re.Match[str]) -> bool:
        return self._key is None or hmac.compare_digest(_compute_signature(self._key, match[1]), match[5])


def _compute_signature(key: bytes, unsigned_link: str) -> str:
    return hmac.new(key, unsigned_link.encode(), hashlib.sha256).hexdigest()
