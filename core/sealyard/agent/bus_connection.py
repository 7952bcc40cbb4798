"""The connection of an agent to the bus database, which is opened again after it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, LiteralString

import psycopg

from sealyard.model.errors import StorageError
from sealyard.storage.postgres.connection import AsyncConnection, Database, storage_error

STATEMENT_SECONDS = 5.0
"""Time after which a statement has failed: an agent must notice a lost connection before the engine gives it up."""

Rows = list[tuple[Any, ...]]


class BusConnection:
    """One connection, for one statement at a time. Each statement is a transaction of its own.

    All methods raise :class:`StorageError` if the database cannot be reached or refuses a statement. The next call
    opens another connection.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: AsyncConnection | None = None
        self._lock = asyncio.Lock()

    async def execute(self, statement: LiteralString, parameters: Mapping[str, Any] | None = None) -> Rows:
        """Execute a statement and return its rows."""
        async with self._lock:
            try:
                async with asyncio.timeout(STATEMENT_SECONDS):
                    connection = await self._connect()
                    cursor = await connection.execute(statement, parameters)
                    return await cursor.fetchall() if cursor.description else []
            except (psycopg.Error, TimeoutError) as error:
                await self._disconnect()
                raise _bus_error(error) from None
            except asyncio.CancelledError:
                await self._disconnect()
                raise

    async def execute_many(self, statement: LiteralString, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Execute a statement for each of the parameters, in one transaction."""
        async with self._lock:
            try:
                async with asyncio.timeout(STATEMENT_SECONDS):
                    connection = await self._connect()
                    async with connection.transaction(), connection.cursor() as cursor:
                        await cursor.executemany(statement, parameters)
            except (psycopg.Error, TimeoutError) as error:
                await self._disconnect()
                raise _bus_error(error) from None
            except asyncio.CancelledError:
                await self._disconnect()
                raise

    async def close(self) -> None:
        async with self._lock:
            await self._disconnect()

    async def _connect(self) -> AsyncConnection:
        if self._connection is None or self._connection.closed:
            self._connection = await self._database.connect_async()
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                await connection.close()


def _bus_error(error: psycopg.Error | TimeoutError) -> StorageError:
    if isinstance(error, psycopg.Error):
        return storage_error(error, "using the bus database")
    return StorageError("The bus database did not respond in time.", "Check the database and the network.")
