"""Connections to the database, and the errors of PostgreSQL as errors of Sealyard."""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import conninfo

from sealyard.model.errors import StorageError, UsageError
from sealyard.model.safe_text import escape_text

_SECRETS = ("password", "sslpassword")

_DEFAULTS: dict[str, str | int] = {
    "application_name": "sealyard",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "target_session_attrs": "read-write",
}
"""Parameters unless the connection string has others: a lost connection is noticed within half a minute."""

Connection = psycopg.Connection[tuple[Any, ...]]
AsyncConnection = psycopg.AsyncConnection[tuple[Any, ...]]


class Database:
    """The database that a connection string names. It can be used by several threads."""

    def __init__(self, connection_string: str, *, connect_seconds: int | None = None) -> None:
        """Check the connection string of libpq, a URI or ``key=value`` pairs.

        ``connect_seconds``: the timeout for a new connection, unless the connection string has one. Raises
        :class:`UsageError` if it is invalid or contains a password.
        """
        parameters = _parse(connection_string)
        if parameters is None:
            raise UsageError(
                "The connection string of the database is invalid.",
                'Use a URI or key=value pairs of libpq, for example "service=sealyard".',
            )
        if any(parameters.get(name) for name in _SECRETS):
            raise UsageError(
                "The connection string of the database contains a password.",
                "Store the password in the file that PGPASSFILE names, or in a service file of libpq.",
            )
        timeout = {"connect_timeout": connect_seconds} if connect_seconds is not None else {}
        self._parameters = {**_DEFAULTS, **timeout, **parameters}

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of libpq, for pools, which must check their connections with :func:`require_private`."""
        # Without prepared statements, so that a pooler may assign another session to each transaction.
        return {"prepare_threshold": None, **self._parameters}

    def connect(self, *, autocommit: bool = True) -> Connection:
        """Open a connection. With ``autocommit``, each statement is a transaction.

        Raises :class:`StorageError` if the database cannot be reached or refuses the connection, or if a connection to
        another machine is not encrypted.
        """
        try:
            connection: Connection = psycopg.connect(autocommit=autocommit, **self.parameters)
        except psycopg.Error as error:
            raise _connect_error(error) from None
        try:
            require_private(connection)
        except StorageError:
            connection.close()
            raise
        return connection

    async def connect_async(self) -> AsyncConnection:
        """Open a connection for an event loop; see :meth:`connect`."""
        try:
            connection = await psycopg.AsyncConnection.connect(autocommit=True, **self.parameters)
        except psycopg.Error as error:
            raise _connect_error(error) from None
        try:
            require_private(connection)
        except StorageError:
            await connection.close()
            raise
        return connection


def require_private(connection: Connection | AsyncConnection) -> None:
    """Raise :class:`StorageError` if the connection to another machine is not encrypted."""
    if not _is_private(connection):
        raise StorageError(
            "The connection to the database is not encrypted.",
            "Add sslmode=verify-full to the connection string, or sslmode=disable if the network is trusted.",
        )


def _connect_error(error: psycopg.Error) -> StorageError:
    reason = escape_text(" ".join(str(error).split()), 500)
    return StorageError(f"Cannot connect to the database: {reason}.", "Check that it runs, and the connection string.")


def _is_private(connection: Connection | AsyncConnection) -> bool:
    """Return whether a connection is encrypted, stays on this machine, or may explicitly be unencrypted."""
    if connection.pgconn.ssl_in_use or _is_on_this_machine(connection):
        return True
    parameters = {option.keyword: option.val for option in connection.pgconn.info}
    return parameters[b"sslmode"] == b"disable"


def _is_on_this_machine(connection: Connection | AsyncConnection) -> bool:
    address = connection.info.hostaddr
    # libpq reports no address for a Unix socket.
    return not address or ipaddress.ip_address(address).is_loopback


def interrupt(connection: Connection) -> None:
    """Make a call that another thread makes on the connection fail, and all later ones."""
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)


def _parse(connection_string: str) -> dict[str, Any] | None:
    """Return the parameters of a connection string; None if it is invalid. libpq's error would contain a part of it."""
    try:
        return dict(conninfo.conninfo_to_dict(connection_string))
    except psycopg.Error:
        return None


def storage_error(error: psycopg.Error, action: str) -> StorageError:
    """Return the error for a statement that the database rejected, or that it did not answer.

    Only the primary message is used, because the details of PostgreSQL contain values of rows.
    """
    reason = error.diag.message_primary or "the connection was lost"
    state = f", SQLSTATE {error.sqlstate}" if error.sqlstate else ""
    return StorageError(
        f"The database failed while {action}: {escape_text(reason, 500)}{state}.",
        "Check the log of the database server, then try again.",
    )
