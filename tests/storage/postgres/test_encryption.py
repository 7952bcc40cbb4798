"""Tests of the connection to a database on another machine: it is encrypted, and its server can be verified."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.model.errors import StorageError
from sealyard.storage.postgres import connection as connection_module
from sealyard.storage.postgres.connection import Database
from tests.support.ports import ReservedPort
from tests.support.postgres import TEST_SETTINGS, TestDatabase, running_server
from tests.support.tls_certificates import create_cert_pair


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of the server, followed by that of its authority."""
    return create_cert_pair(tmp_path_factory.mktemp("tls"), "server")[0]


@pytest.fixture(scope="module")
def tls_database(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[TestDatabase]:
    """A database whose server accepts connections over TCP, with and without TLS."""
    folder = Path("/tmp") / f"sealyard-tls-{os.getpid()}"
    shutil.copytree(certificate.parent, folder)
    try:
        key = folder / "server.key"
        key.chmod(0o600)
        if os.geteuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "postgres", "postgres")
        with ReservedPort() as port:
            settings = {
                **TEST_SETTINGS,
                "listen_addresses": "127.0.0.1",
                "port": str(port.number),
                "ssl": "on",
                "ssl_cert_file": str(folder / "server.pem"),
                "ssl_key_file": str(key),
            }
            with running_server(settings) as server:
                yield server.create_database()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def tcp(tls_database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> str:
    """The connection string for TCP. Connections count as those to another machine."""
    monkeypatch.setattr(connection_module, "_is_on_this_machine", lambda _: False)
    return tls_database.connection_string.replace(f"host={tls_database.server.folder}", "host=127.0.0.1")


@pytest.mark.parametrize("mode", ["", "sslmode=require", "sslmode=disable"])
def test_encrypted_or_explicitly_plain_connection_is_accepted(tcp: str, mode: str) -> None:
    with Database(f"{tcp} {mode}").connect() as connection:
        assert bool(connection.pgconn.ssl_in_use) is (mode != "sslmode=disable")


def test_unencrypted_connection_is_refused(tcp: str) -> None:
    with pytest.raises(StorageError, match="not encrypted"):
        Database(f"{tcp} sslmode=allow").connect()


def test_server_is_verified_with_its_authority(tcp: str, certificate: Path, tmp_path: Path) -> None:
    Database(f"{tcp} sslmode=verify-full sslrootcert={certificate}").connect().close()
    other_certificate, _ = create_cert_pair(tmp_path, "other")
    with pytest.raises(StorageError, match="certificate"):
        Database(f"{tcp} sslmode=verify-full sslrootcert={other_certificate}").connect()


def test_connection_on_this_machine_may_be_unencrypted(tls_database: TestDatabase) -> None:
    socket_string = tls_database.connection_string
    tcp_string = socket_string.replace(f"host={tls_database.server.folder}", "host=127.0.0.1 sslmode=allow")
    for connection_string in (socket_string, tcp_string):
        with Database(connection_string).connect() as connection:
            assert not connection.pgconn.ssl_in_use
