"""The base of all values: frozen, compared by content, camelCase in JSON."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta


class FrozenStruct(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An immutable record, one definition for the domain, the store and the wire.

    Change one with :func:`msgspec.structs.replace`; a task's status only through
    :func:`sealyard.model.lifecycle.advance`.
    """


class SecretStruct(FrozenStruct, frozen=True, kw_only=True):
    """A value that carries a secret. However it is printed, by Rich in a crash report too, only ``SHOWN`` is seen."""

    SHOWN: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.SHOWN]


ShortText = Annotated[str, Meta(max_length=1000)]
"""A name, an id, a subject."""

LongText = Annotated[str, Meta(max_length=10_000)]
"""What somebody wrote: a reason, a description."""
