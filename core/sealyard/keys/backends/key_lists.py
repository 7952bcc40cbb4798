"""Lists of the keys of a key service, which describes each key in a response of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from sealyard.model.algorithms import KeyType
from sealyard.model.backend_keys import ListedKey
from sealyard.model.errors import InvalidKeyError, NotFoundError

MAX_PARALLEL_READS = 8
"""How many keys are read at once."""


async def list_usable_keys(
    labels: Mapping[str, str], read_kind: Callable[[str], Awaitable[KeyType]]
) -> tuple[ListedKey, ...]:
    """Return the keys with these names that can be registered, sorted by name.

    ``labels``: the label of each key by its name. ``read_kind`` returns the type of a key. Keys for which it raises
    :class:`InvalidKeyError` or :class:`NotFoundError` are omitted.
    """
    limit = asyncio.Semaphore(MAX_PARALLEL_READS)

    async def read(name: str, label: str) -> ListedKey | None:
        async with limit:
            try:
                return ListedKey(name=name, kind=await read_kind(name), label=label)
            except (InvalidKeyError, NotFoundError):
                return None

    keys = await asyncio.gather(*(read(name, label) for name, label in sorted(labels.items())))
    return tuple(key for key in keys if key is not None)
