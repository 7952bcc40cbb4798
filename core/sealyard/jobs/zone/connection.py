"""Connections to the bus database, of servers and agents. Each is opened again after it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from sealyard.model.errors import StorageError
from sealyard.storage.postgres.connection import AsyncConnection, Database, storage_error

STATEMENT_SECONDS = 5.0
"""Time after which a statement or transaction has failed: a lost connection must be noticed early."""

Rows = list[tuple[Any, ...]]


class BusConnection:
    """One connection, for one statement or transaction at a time.

    All methods raise :class:`StorageError` if the database cannot be reached or refuses a statement. The next call
    opens another connection.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: AsyncConnection | None = None
        self._lock = asyncio.Lock()

    async def execute(self, statement: LiteralString, parameters: Mapping[str, Any] | None = None) -> Rows:
        """Execute a statement in a transaction of its own, and return its rows."""
        async with self._use() as connection:
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchall() if cursor.description else []

    async def execute_many(self, statement: LiteralString, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Execute a statement for each of the parameters, in one transaction."""
        async with self.transaction() as connection, connection.cursor() as cursor:
            await cursor.executemany(statement, parameters)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Commit what the block executes on the connection, or nothing if it raises an error."""
        async with self._use() as connection, connection.transaction():
            yield connection

    async def close(self) -> None:
        async with self._lock:
            await self._disconnect()

    @asynccontextmanager
    async def _use(self) -> AsyncIterator[AsyncConnection]:
        async with self._lock:
            try:
                async with asyncio.timeout(STATEMENT_SECONDS):
                    if self._connection is None or self._connection.closed:
                        self._connection = await self._database.connect_async()
                    yield self._connection
            except (psycopg.Error, TimeoutError) as error:
                await self._disconnect()
                raise _bus_error(error) from None
            except asyncio.CancelledError:
                await self._disconnect()
                raise

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                await connection.close()


async def listen(database: Database, channel: str, event: asyncio.Event, retry_seconds: float) -> None:
    """Set ``event`` when the channel is notified, until cancelled. While the connection is lost, the caller polls."""
    while True:
        with suppress(StorageError, psycopg.Error):
            async with await database.connect_async() as connection:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                event.set()
                async for _ in connection.notifies():
                    event.set()
        await asyncio.sleep(retry_seconds)


def _bus_error(error: psycopg.Error | TimeoutError) -> StorageError:
    if isinstance(error, psycopg.Error):
        return storage_error(error, "using the bus database")
    return StorageError("The bus database did not respond in time.", "Check the database and the network.")
