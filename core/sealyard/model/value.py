"""The base of all values: frozen, compared by content, camelCase in JSON."""

from __future__ import annotations

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An immutable record, one definition for the domain, the store and the wire.

    Change one with :func:`msgspec.structs.replace`; a task's status only through
    :func:`sealyard.model.lifecycle.advance`.
    """
