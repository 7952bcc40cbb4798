"""The freshness anchor: where the worker state ended, kept outside the workspace folder.

An anchor is one line like those of the worker state: an HMAC-SHA256 (64 hex digits), a space, and a JSON value. The
HMAC is made under a key of its own, derived from the master key with HKDF (RFC 5869). Fields that a later version adds,
such as a position in the store, are ignored by this one.
"""

from __future__ import annotations

import hmac

import msgspec

from sealyard.keyholder.state_records import MAC_DIGITS
from sealyard.keys.derived_keys import derive_key
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import AnchorError
from sealyard.model.hints import Hint, HintCode

_KEY_INFO = b"sealyard freshness anchor 1"


class Anchor(FrozenStruct, frozen=True, kw_only=True):
    """The end of a worker state.

    ``records`` and ``last_mac``: the number of its records, and the HMAC of the last one, which covers all of them.
    ``audit_size`` and ``audit_root`` (hex): the last signed checkpoint of the audit log, 0 and empty if there is none.
    """

    workspace: str
    epoch: str
    records: int
    last_mac: str
    audit_size: int
    audit_root: str


class AnchorCodec:
    """Encodes and verifies the anchors of one workspace."""

    def __init__(self, master_key: bytes, workspace_id: str) -> None:
        self._key = derive_key(master_key, _KEY_INFO)
        self.workspace_id = workspace_id

    def encode(self, anchor: Anchor) -> bytes:
        text = msgspec.json.encode(anchor)
        return f"{self._compute_mac(text)} ".encode() + text + b"\n"

    def decode(self, line: bytes, location: str) -> Anchor:
        """Return the anchor that ``location`` stores.

        Raises :class:`AnchorError` if the line is not one that :meth:`encode` returned for this workspace.
        """
        mac, separator, text = line[:MAC_DIGITS], line[MAC_DIGITS : MAC_DIGITS + 1], line[MAC_DIGITS + 1 : -1]
        is_authentic = hmac.compare_digest(mac, self._compute_mac(text).encode())
        if not is_authentic or separator != b" " or line[-1:] != b"\n":
            raise _damaged_error(location)
        anchor = msgspec.json.decode(text, type=Anchor)
        if anchor.workspace != self.workspace_id:
            raise _damaged_error(location)
        return anchor

    def _compute_mac(self, text: bytes) -> str:
        return hmac.digest(self._key, text, "sha256").hex()


def _damaged_error(location: str) -> AnchorError:
    return AnchorError(
        f"The freshness anchor of the workspace, {location}, is damaged, was changed, or belongs to another workspace."
        " Nothing is signed.",
        Hint.of(HintCode.ADOPT_WORKSPACE),
    )
