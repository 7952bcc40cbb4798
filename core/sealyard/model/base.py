"""Base classes of all value types: immutable, compared by content, camelCase in JSON."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

JSON_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding JSON raises: invalid UTF-8 and deeply nested values have errors of their own in msgspec."""


class FrozenStruct(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An immutable record. The same class is used by the engine, in the store and on the wire.

    Make a modified copy with :func:`msgspec.structs.replace`. A task's status is changed only by
    :func:`sealyard.model.lifecycle.advance`.
    """


class SecretStruct(FrozenStruct, frozen=True, kw_only=True):
    """A record that contains a secret.

    Its representation, including the one that Rich prints in a crash report, contains only the fields named in
    ``REPR_FIELDS``.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.REPR_FIELDS]


ShortText = Annotated[str, Meta(max_length=1000)]
"""Names, ids and subjects: at most 1000 characters."""

LongText = Annotated[str, Meta(max_length=10_000)]
"""Free text such as reasons and descriptions: at most 10,000 characters."""
