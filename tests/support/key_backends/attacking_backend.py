"""A key backend that runs statements, as a module of a token that was replaced by an attacker."""

from __future__ import annotations

import errno
from typing import Self

import msgspec
from tests.support.memory_backend import MemoryBackend

from sealyard.model.algorithms import KeyType
from sealyard.model.backend_keys import ListedKey
from sealyard.model.provider_settings import ProviderSettings, Secrets

PRELUDE = """
import ctypes, os, pathlib, socket, subprocess
def call(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "refused")
"""


class Options(msgspec.Struct):
    statements: dict[str, str]


class AttackingBackend(MemoryBackend):
    """``list_keys`` returns a key for each statement, whose label is "done" or the name of the error."""

    def __init__(self, statements: dict[str, str]) -> None:
        super().__init__()
        namespace: dict[str, object] = {}
        exec(PRELUDE, namespace)
        self._outcomes = {name: run(statement, namespace) for name, statement in statements.items()}

    @classmethod
    async def open(cls, settings: ProviderSettings, secrets: Secrets) -> Self:
        return cls(settings.parse_options(Options).statements)

    async def list_keys(self) -> tuple[ListedKey, ...]:
        return tuple(
            ListedKey(name=name, kind=KeyType.AES_256, label=outcome) for name, outcome in self._outcomes.items()
        )


def run(statement: str, namespace: dict[str, object]) -> str:
    try:
        exec(statement, namespace)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"
