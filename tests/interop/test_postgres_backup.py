"""Restore a workspace in PostgreSQL from backups: to a moment, and from a dump into another database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sealyard.engine.workspace import load_metadata, save_metadata
from sealyard.model.errors import AuditVerificationError, StoreCorruptedError
from sealyard.model.tasks import TaskStatus, Verdict
from sealyard.model.workspace import WorkspacePaths
from tests.support.cli_runner import sealyard
from tests.support.postgres import OWNER, PostgresServer, TestDatabase
from tests.support.postgres_backup import back_up_server, restore_server, running_archiving_server
from tests.support.recovery import create_request, load_recoveries, load_tasks, recover, sign, start
from tests.support.workspace_files import (
    DEVELOPER,
    PASSPHRASE,
    create_workspace_with_device,
    open_engine,
)
from tests.support.workspace_files import (
    OWNER as APPROVER,
)

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_archiving_server() as server:
        yield server


@pytest.fixture
def database(server: PostgresServer) -> TestDatabase:
    return server.create_database()


@pytest.fixture
def folder(tmp_path: Path, database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a signed message and one that waits for approval."""
    monkeypatch.setenv("SEALYARD_ANCHORS", str(tmp_path / "anchors"))
    folder = tmp_path / "workspace"
    asyncio.run(_create(folder, database))
    return folder


async def _create(folder: Path, database: TestDatabase) -> None:
    await create_workspace_with_device(folder, database.connection_string)
    async with open_engine(folder) as engine:
        developer = engine.client(DEVELOPER)
        await developer.create_signing(create_request(b"waiting message"))
    await sign(folder, b"before the backup")


def require_continued(folder: Path, names: set[str]) -> None:
    """Check the tasks after a recovery, that their signatures can be read, and that the workspace can be used."""
    tasks = asyncio.run(load_tasks(folder))
    assert set(tasks) == names | {"waiting message"}
    assert {tasks[name].status for name in names} == {TaskStatus.DONE}
    assert tasks["waiting message"].status is TaskStatus.CANCELLED
    assert len(asyncio.run(load_recoveries(folder))) == 1
    task = asyncio.run(sign(folder, b"after the recovery"))
    assert task.status is TaskStatus.DONE
    for signed_task in (tasks["before the backup"], task):
        assert signed_task.result is not None
        assert signed_task.result.signature


def test_restore_to_a_moment(server: PostgresServer, database: TestDatabase, folder: Path) -> None:
    """The moment is within a run of the engine; the folder has what happened since."""
    back_up_server(server, "backup")

    async def work() -> None:
        async with open_engine(folder) as engine:
            for name in (b"before the moment", b"after the moment"):
                task = await engine.client(DEVELOPER).create_signing(create_request(name))
                await engine.client(APPROVER).decide(task.id, Verdict.APPROVED)
                await engine.wait_idle()
                if name == b"before the moment":
                    server.execute("SELECT pg_create_restore_point('moment')")

    asyncio.run(work())
    asyncio.run(sign(folder, b"in the last run"))
    restore_server(server, "backup", "moment")
    database.expire_lease()
    with pytest.raises(StoreCorruptedError, match="older state"):
        asyncio.run(start(folder))
    found = recover(folder)
    assert found.lost_generations == 1
    assert found.lost_entries > 0
    # The newest checkpoint in the database may be older than the last signature before the moment.
    assert found.worker_state.newer_intents in (2, 3)
    require_continued(folder, {"before the backup", "before the moment"})


def test_restore_of_a_dump_into_another_database(
    server: PostgresServer, database: TestDatabase, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dump of the newest state is accepted as it is; an older one is refused until the recovery."""
    dump = dump_database(database, "first.dump")
    use_database(folder, restore_dump(server, dump))
    asyncio.run(sign(folder, b"in the restored database"))
    use_database(folder, restore_dump(server, dump))
    with pytest.raises((StoreCorruptedError, AuditVerificationError), match="older state"):
        asyncio.run(start(folder))
    monkeypatch.setenv("SEALYARD_PASSPHRASE", PASSPHRASE)
    result = sealyard("recover", "--workspace", folder)
    assert result.code == 2
    assert "1 generation of the store" in result.out
    assert sealyard("recover", "--workspace", folder, "--yes").code == 0
    require_continued(folder, {"before the backup"})


def dump_database(database: TestDatabase, name: str) -> str:
    connection_string = database.server.connection_string(database.name, "postgres")
    database.server.run("pg_dump", "--format", "custom", "--file", name, "--dbname", connection_string)
    return name


def restore_dump(server: PostgresServer, name: str) -> TestDatabase:
    database = server.create_database("template0")
    connection_string = server.connection_string(database.name, "postgres")
    server.run("pg_restore", "--exit-on-error", "--dbname", connection_string, name)
    assert server.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'document'", database.name) == [(OWNER,)]
    return database


def use_database(folder: Path, database: TestDatabase) -> None:
    paths = WorkspacePaths(folder)
    save_metadata(paths, msgspec.structs.replace(load_metadata(paths), database=database.connection_string))
