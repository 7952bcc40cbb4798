"""Workspaces whose database was restored to an older state, alone or together with the folder.

E8 for a database: put it back, so that what was signed since can be signed again.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealyard.engine.audit import checkpointing
from sealyard.engine.recover_workspace import plan_recovery, recover_workspace
from sealyard.engine.workspace import load_metadata, save_metadata
from sealyard.model.audit import AuditEntry
from sealyard.model.errors import (
    AnchorError,
    AuditVerificationError,
    ConflictError,
    FencedError,
    PermissionDeniedError,
    SealyardError,
    StoreCorruptedError,
    WorkspaceLockedError,
)
from sealyard.model.hints import HintCode
from sealyard.model.key_holder_messages import AnchorProblem
from sealyard.model.tasks import TaskStatus, Verdict
from sealyard.model.workspace import WorkspacePaths
from tests.support.extent import choose_count
from tests.support.key_holders import open_key_holder
from tests.support.limits import TIMEOUT
from tests.support.postgres import PostgresServer, TestDatabase
from tests.support.postgres_fixtures import postgres_server
from tests.support.recovery import create_request, plan, recover, sign, sign_with, start, use_recovered
from tests.support.worker_state import read_intents, read_records
from tests.support.workspace_files import DEVELOPER, OWNER, PASSPHRASE, create_workspace_with_device, open_engine

__all__ = ["postgres_server"]

REFUSED_STARTS = choose_count(share=1, full=2)
"""How often a refused start is repeated. The recovery after it is a further one."""


class Backup:
    """A copy of the folder and of the database, of the same moment."""

    def __init__(self, folder: Path, database: TestDatabase) -> None:
        self.folder = folder
        self.database = database


class Restorable:
    """A workspace in PostgreSQL with a finished and a waiting signing task."""

    def __init__(self, root: Path, database: TestDatabase) -> None:
        self.root = root
        self.database = database
        self.folder = root / "workspace"
        self.paths = WorkspacePaths(self.folder)
        self._backup_count = 0

    def back_up(self) -> Backup:
        self._backup_count += 1
        folder = Path(shutil.copytree(self.folder, self.root / f"backup-{self._backup_count}"))
        return Backup(folder, self.database.copy())

    def restore_database(self, backup: Backup) -> None:
        self.database.put_back(backup.database)
        self.database.expire_lease()

    async def wait_for_checkpoint(self) -> None:
        """Wait until a checkpoint covers all entries of the audit log."""
        query = "SELECT (SELECT max(size) FROM sealyard.audit_checkpoint), (SELECT count(*) FROM sealyard.audit_entry)"
        async with asyncio.timeout(TIMEOUT):
            while len(set(self.database.execute(query)[0])) > 1:
                await asyncio.sleep(0.05)

    def restore_folder(self, backup: Backup) -> None:
        shutil.rmtree(self.folder)
        shutil.copytree(backup.folder, self.folder)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> tuple[Path, TestDatabase]:
    root = tmp_path_factory.mktemp("restorable")
    database = postgres_server.create_database(prefix="kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALYARD_ANCHORS", str(root / "anchors"))
        asyncio.run(_create(root / "workspace", database))
    # The copies must not find the anchor where the template has recorded it.
    (root / "anchors").rename(root / "kept")
    return root, database


async def _create(folder: Path, database: TestDatabase) -> None:
    await create_workspace_with_device(folder, database.connection_string)
    async with open_engine(folder) as engine:
        await sign_with(engine, b"first message")
        await engine.client(DEVELOPER).create_signing(create_request(b"waiting message"))


@pytest.fixture(scope="module")
def signed_template(
    template: tuple[Path, TestDatabase], tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> tuple[Path, TestDatabase]:
    """Return the folder and the database of a copy of the template in which a second message was signed."""
    root = tmp_path_factory.mktemp("signed")
    with pytest.MonkeyPatch.context() as patch:
        restorable = copy_template(template, root, postgres_server, patch, prefix="kept")
        assert asyncio.run(sign(restorable.folder, b"second message")).status is TaskStatus.DONE
    (root / "anchors").rename(root / "kept")
    return root, restorable.database


def copy_template(
    template: tuple[Path, TestDatabase],
    root: Path,
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    prefix: str = "test",
) -> Restorable:
    """Copy a folder, its anchors and its database, and use the copied anchors."""
    template_root, template_database = template
    shutil.copytree(template_root / "workspace", root / "workspace")
    shutil.copytree(template_root / "kept", root / "anchors")
    monkeypatch.setenv("SEALYARD_ANCHORS", str(root / "anchors"))
    restorable = Restorable(root, postgres_server.create_database(template_database.name, prefix=prefix))
    use_database(restorable.paths, restorable.database)
    return restorable


def use_database(paths: WorkspacePaths, database: TestDatabase) -> None:
    save_metadata(paths, msgspec.structs.replace(load_metadata(paths), database=database.connection_string))


@pytest.fixture
def workspace(
    template: tuple[Path, TestDatabase],
    tmp_path: Path,
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Restorable]:
    yield copy_template(template, tmp_path, postgres_server, monkeypatch)
    postgres_server.drop_databases()


@pytest.fixture
def signed_workspace(
    template: tuple[Path, TestDatabase],
    signed_template: tuple[Path, TestDatabase],
    tmp_path: Path,
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Restorable, Backup]]:
    """Yield a workspace in which a second message was signed, and a backup from before."""
    restorable = copy_template(signed_template, tmp_path, postgres_server, monkeypatch)
    root, database = template
    backup = Backup(Path(shutil.copytree(root / "workspace", tmp_path / "backup")), database.copy())
    use_database(WorkspacePaths(backup.folder), restorable.database)
    yield restorable, backup
    postgres_server.drop_databases()


def require_refused(workspace: Restorable, error_type: type[SealyardError], match: str) -> None:
    """Check that no engine starts, repeatedly, and that the attempts sign nothing."""
    records = read_signing_records(workspace)
    for _ in range(REFUSED_STARTS):
        with pytest.raises(error_type, match=match) as caught:
            asyncio.run(start(workspace.folder))
        assert caught.value.structured_hint.code == HintCode.RECOVER_WORKSPACE
    assert read_signing_records(workspace) == records


def read_signing_records(workspace: Restorable) -> list[dict[str, Any]]:
    """Return the records of the worker state, except the generations, of which each start may be one."""
    return [record for record in read_records(workspace.folder) if record["type"] not in ("store", "anchor")]


def require_continued(workspace: Restorable, task_names: set[str]) -> AuditEntry:
    """Check the tasks after a recovery, and that the workspace can be used; return the audit entry of the recovery."""
    recovered = asyncio.run(use_recovered(workspace.folder))
    assert set(recovered.tasks) == task_names
    assert recovered.tasks["first message"].status is TaskStatus.DONE
    waiting = recovered.tasks["waiting message"]
    assert (waiting.status, waiting.reason_code) == (TaskStatus.CANCELLED, "workspace-recovered")
    assert recovered.signed.status is TaskStatus.DONE
    [entry] = recovered.recoveries
    return entry


# ---- recovery


def test_database_of_an_older_start(signed_workspace: tuple[Restorable, Backup]) -> None:
    workspace, backup = signed_workspace
    intents = read_intents(workspace.folder)
    workspace.restore_database(backup)
    require_refused(workspace, StoreCorruptedError, "older state")

    found = plan(workspace.folder)
    assert found.worker_state.problem is None
    assert (found.lost_generations, found.unfinished_tasks) == (1, 1)
    assert found.lost_entries == found.worker_state.state.audit_size - found.audit_entries > 0
    assert found.worker_state.newer_intents == 1
    assert recover(workspace.folder) == found
    assert read_intents(workspace.folder) == intents
    entry = require_continued(workspace, {"first message", "waiting message"})
    assert entry.new_value is not None
    assert entry.new_value["generation"]["number"] == found.generation
    assert entry.new_value["oldGeneration"]["number"] == found.generation + 1
    assert entry.new_value["newerIntents"] == 1


def test_database_that_lost_commits_of_the_last_run(workspace: Restorable) -> None:
    """As after the failover to a replica that lacked acknowledged commits."""

    async def lose_commits() -> None:
        async with open_engine(workspace.folder) as engine:
            backup = workspace.back_up()
            task = await engine.client(DEVELOPER).create_signing(create_request(b"second message"))
            await engine.client(OWNER).decide(task.id, Verdict.APPROVED)
            await engine.wait_idle()
            await workspace.wait_for_checkpoint()
            workspace.restore_database(backup)
            with pytest.raises(FencedError, match="lost acknowledged commits"):
                await engine.client(DEVELOPER).create_signing(create_request(b"third message"))

    asyncio.run(lose_commits())
    workspace.database.expire_lease()
    require_refused(workspace, AuditVerificationError, "entries were removed")
    found = recover(workspace.folder)
    assert found.lost_generations == 0
    assert found.lost_entries > 0
    assert found.worker_state.newer_intents == 1
    require_continued(workspace, {"first message", "waiting message"})


def test_database_that_lost_a_signed_task_before_the_next_checkpoint(
    workspace: Restorable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No checkpoint of the lost entries was signed, but the worker state knows that a key was used."""
    monkeypatch.setattr(checkpointing, "CHECKPOINT_INTERVAL", 3600.0)

    async def lose_commits() -> None:
        async with open_engine(workspace.folder) as engine:
            backup = workspace.back_up()
            task = await engine.client(DEVELOPER).create_signing(create_request(b"second message"))
            await engine.client(OWNER).decide(task.id, Verdict.APPROVED)
            await engine.wait_idle()
            workspace.restore_database(backup)
            with pytest.raises(FencedError, match="lost acknowledged commits"):
                await engine.client(DEVELOPER).create_signing(create_request(b"third message"))

    asyncio.run(lose_commits())
    workspace.database.expire_lease()
    monkeypatch.undo()
    monkeypatch.setenv("SEALYARD_ANCHORS", str(workspace.root / "anchors"))
    require_refused(workspace, AuditVerificationError, "A key was used for attempt 1")
    found = recover(workspace.folder)
    assert (found.lost_entries, found.worker_state.newer_intents) == (0, 1)
    require_continued(workspace, {"first message", "waiting message"})


def test_folder_and_database_of_one_backup(signed_workspace: tuple[Restorable, Backup]) -> None:
    workspace, backup = signed_workspace
    workspace.restore_folder(backup)
    workspace.restore_database(backup)
    require_refused(workspace, AnchorError, "older copy")
    found = recover(workspace.folder)
    assert found.worker_state.problem is AnchorProblem.AHEAD
    assert (found.lost_generations, found.worker_state.newer_intents) == (0, 0)
    assert found.lost_entries > 0
    require_continued(workspace, {"first message", "waiting message"})


def test_folder_older_than_the_database(signed_workspace: tuple[Restorable, Backup]) -> None:
    """The intents since are lost, but all tasks that they belong to have ended."""
    workspace, backup = signed_workspace
    workspace.restore_folder(backup)
    require_refused(workspace, AnchorError, "older copy")
    found = recover(workspace.folder)
    assert len(found.problems) == 2
    assert (found.lost_generations, found.lost_entries) == (0, 0)
    require_continued(workspace, {"first message", "second message", "waiting message"})


def test_copied_folder_and_database_require_adoption(workspace: Restorable) -> None:
    workspace.restore_database(workspace.back_up())
    next((workspace.root / "anchors").iterdir()).unlink()
    with pytest.raises(ConflictError, match="how old this copy is"):
        recover(workspace.folder)
    assert recover(workspace.folder, adopt=True).worker_state.problem is AnchorProblem.MISSING
    require_continued(workspace, {"first message", "waiting message"})


def test_newer_database_is_refused_after_recovery(signed_workspace: tuple[Restorable, Backup]) -> None:
    workspace, older = signed_workspace
    newer = workspace.back_up()
    workspace.restore_database(older)
    recover(workspace.folder)
    workspace.restore_database(newer)
    require_refused(workspace, StoreCorruptedError, "was replaced")


def test_interrupted_recovery_is_completed_by_the_next_start(signed_workspace: tuple[Restorable, Backup]) -> None:
    workspace, backup = signed_workspace
    workspace.restore_database(backup)
    with (
        pytest.MonkeyPatch.context() as patch,
        open_key_holder(workspace.folder, PASSPHRASE, may_recover=True) as key_holder,
    ):
        patch.setattr("sealyard.engine.recover_workspace.open_engine", None)
        with pytest.raises(TypeError):
            asyncio.run(recover_workspace(workspace.paths, key_holder, adopt=False))
    require_continued(workspace, {"first message", "waiting message"})


# ---- what is not recovered


def test_nothing_to_recover(workspace: Restorable) -> None:
    content = workspace.paths.worker_state.read_bytes()
    with pytest.raises(ConflictError, match="nothing to recover"):
        recover(workspace.folder)
    assert workspace.paths.worker_state.read_bytes() == content
    asyncio.run(start(workspace.folder))


@pytest.mark.parametrize(
    ("change", "error_type"),
    [
        ("UPDATE sealyard.document SET body = body::jsonb::json WHERE kind = 'rules'", StoreCorruptedError),
        ("DELETE FROM sealyard.document WHERE kind = 'rules'", StoreCorruptedError),
        ("TRUNCATE sealyard.workspace CASCADE", StoreCorruptedError),
        ("DELETE FROM sealyard.audit_entry WHERE seq = 3", AuditVerificationError),
        ("DELETE FROM sealyard.audit_checkpoint", AuditVerificationError),
        (
            "DELETE FROM sealyard.audit_entry WHERE seq = (SELECT max(seq) FROM sealyard.audit_entry)",
            AuditVerificationError,
        ),
    ],
    ids=["document", "removed document", "workspace", "removed entry", "checkpoints", "newest entry"],
)
def test_changed_database_is_not_recovered(workspace: Restorable, change: str, error_type: type[SealyardError]) -> None:
    backup = workspace.back_up()
    asyncio.run(start(workspace.folder))
    workspace.restore_database(backup)
    workspace.database.execute(change)
    state = workspace.paths.worker_state.read_bytes()
    with pytest.raises(error_type):
        recover(workspace.folder)
    assert workspace.paths.worker_state.read_bytes() == state


def test_open_workspace_is_not_recovered(workspace: Restorable) -> None:
    async def plan_while_open() -> None:
        async with open_engine(workspace.folder):
            with (
                open_key_holder(workspace.folder, PASSPHRASE, may_recover=True) as key_holder,
                pytest.raises(WorkspaceLockedError),
            ):
                await plan_recovery(workspace.paths, key_holder)

    asyncio.run(plan_while_open())


def test_ordinary_key_holder_refuses_an_older_generation(workspace: Restorable) -> None:
    backup = workspace.back_up()
    asyncio.run(start(workspace.folder))
    workspace.restore_database(backup)
    with (
        open_key_holder(workspace.folder, PASSPHRASE) as key_holder,
        pytest.raises(PermissionDeniedError, match="not started for a recovery"),
    ):
        asyncio.run(recover_workspace(workspace.paths, key_holder, adopt=False))
    require_refused(workspace, StoreCorruptedError, "older state")
