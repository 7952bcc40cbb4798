"""Links to results: signed, with an end, and good for one artifact.

``sealyard:<workspace id>/<task id>?expires=<seconds since the epoch, rounded up>&signature=<hex>``; the signature is
HMAC-SHA256 over what stands before ``&``, under a random key of the workspace (32 bytes, in a file of mode 0600).
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from datetime import UTC, datetime
from pathlib import Path

from sealyard.model.errors import PermissionDeniedError, ResultExpiredError
from sealyard.storage.key_file import KEY_BYTES, create_random_key

_LINK = re.compile(r"(sealyard:([^/?]+)/([^/?]+)\?expires=(\d{1,12}))&signature=([0-9a-f]{64})")


class DownloadLinks:
    """Makes links and checks them."""

    def __init__(self, workspace_id: str, key: bytes) -> None:
        self._workspace_id = workspace_id
        self._key = key

    @classmethod
    def open(cls, workspace_id: str, key_file: Path) -> DownloadLinks:
        """Makes the key where there is none.

        Anew where it is not whole: everybody could sign under no key. Links from before end with it.
        """
        if not key_file.exists() or key_file.stat().st_size != KEY_BYTES:
            create_random_key(key_file, "the key of links")
        return cls(workspace_id, key_file.read_bytes())

    def sign(self, task_id: str, expires_at: datetime) -> str:
        text = f"sealyard:{self._workspace_id}/{task_id}?expires={math.ceil(expires_at.timestamp())}"
        return f"{text}&signature={self._signature(text)}"

    def verify(self, link: str, now: datetime) -> str:
        """The task whose artifact ``link`` leads to.

        Raises :class:`PermissionDeniedError` for a link that was not made here, :class:`ResultExpiredError`.
        """
        found = self._belongs_here(link)
        if now >= datetime.fromtimestamp(int(found[4]), UTC):
            raise ResultExpiredError("The link has expired.", f"Renew it: sealyard renew {found[3]}")
        return found[3]

    def task_id_of(self, link: str) -> str:
        """The same for one whose time may be over. Raises :class:`PermissionDeniedError`."""
        return self._belongs_here(link)[3]

    def _belongs_here(self, link: str) -> re.Match[str]:
        found = _LINK.fullmatch(link)
        if (
            found is None
            or found[2] != self._workspace_id
            or not hmac.compare_digest(self._signature(found[1]), found[5])
        ):
            raise PermissionDeniedError("This is no link of this workspace.", "Ask the workspace for a new one.")
        return found

    def _signature(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
