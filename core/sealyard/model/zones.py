"""Crypto zones: hosts in a separate network that execute the tasks of a workspace with the keys of the zone."""

from __future__ import annotations

import re
from datetime import datetime

from msgspec import UNSET, UnsetType

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

ENROLLMENT_VERSION = 1

_ZONE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class ZonePublicKeys(FrozenStruct, frozen=True, kw_only=True):
    """The public keys of a zone, which are derived from its master key; all hosts of the zone have the same.

    ``report_key``: Ed25519; verifies the reports of its workers. ``sealing_key``: X25519; key commands are encrypted to
    it. Both are raw keys of 32 bytes.
    """

    report_key: bytes
    sealing_key: bytes


class ZoneSettings(FrozenStruct, frozen=True, kw_only=True):
    """The crypto zone of a workspace, as stored in ``workspace.json``.

    ``bus``: connection string of the bus database for the role of servers, without a password. ``keys``: unset until
    the zone is admitted.
    """

    name: str
    bus: str
    keys: ZonePublicKeys | UnsetType = UNSET


class Enrollment(FrozenStruct, frozen=True, kw_only=True):
    """What a crypto host has to know about the workspace whose tasks it executes; it contains no secret.

    ``order_key``: Ed25519, raw; verifies the orders of the engine.
    """

    version: int = ENROLLMENT_VERSION
    workspace_id: str
    workspace_name: str
    zone: str
    order_key: bytes


class ZoneIdentity(FrozenStruct, frozen=True, kw_only=True):
    """What the key store of a crypto host knows: the enrollment that it has pinned, and the public keys of the zone."""

    enrollment: Enrollment
    keys: ZonePublicKeys


class CryptoHostSettings(FrozenStruct, frozen=True, kw_only=True):
    """The contents of ``host.json`` in the folder of a crypto host.

    ``bus``: connection string of the bus database for the role of crypto hosts, without a password.
    """

    enrollment: Enrollment
    bus: str
    created_at: datetime


def check_zone_name(name: str) -> str:
    """Return ``name``. Raises :class:`UsageError` if it is not the name of a zone."""
    if not _ZONE_NAME.fullmatch(name):
        raise UsageError(
            f"Invalid zone name {escape_text(name, 80)}.",
            "Use up to 63 lower case letters, digits, dots, hyphens and underscores; begin with a letter or digit.",
        )
    return name
