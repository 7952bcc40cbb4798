"""Attacks with whole copies of a workspace folder, which only the freshness anchor outside of it can notice.

E8: put the whole folder back to an older state, so that what was signed since can be signed again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from sealyard.engine.recover_workspace import recover_workspace
from sealyard.engine.state.tables import INDEXES
from sealyard.engine.workspace import load_metadata
from sealyard.fs.atomic import write_atomic
from sealyard.model.errors import (
    AnchorError,
    AuditVerificationError,
    ConflictError,
    PermissionDeniedError,
    StorageError,
    WorkerStateError,
)
from sealyard.model.hints import HintCode
from sealyard.model.key_holder_messages import AnchorProblem
from sealyard.model.requests import TaskFilter
from sealyard.model.tasks import TaskStatus, Verdict
from sealyard.model.workspace import WorkspacePaths
from sealyard.storage.documents import TinyDocumentStore
from sealyard.storage.frame_chain import StoreCredentials
from sealyard.storage.opening import StoreOpening
from tests.support.extent import choose_count
from tests.support.key_holders import open_key_holder
from tests.support.recovery import create_request, plan, recover, sign, sign_with, start, use_recovered
from tests.support.worker_state import read_intents, read_records
from tests.support.workspace_files import (
    ADMIN,
    DEVELOPER,
    OWNER,
    PASSPHRASE,
    create_empty_workspace,
    create_workspace_with_device,
    open_engine,
)

REFUSED_STARTS = choose_count(share=1, full=2)
"""How often a refused start is repeated. One shows the same as two if it changes no file."""


class Anchored:
    """A workspace with a finished and a waiting signing task, and the folder with its anchor.

    ``older``: where the fixture has kept a copy of the workspace from before its last signature.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = WorkspacePaths(root / "workspace")
        self.anchors = root / "anchors"
        self.older = WorkspacePaths(root / "older")

    @property
    def anchor(self) -> Path:
        return self.anchors / load_metadata(self.paths).id

    def copy_to(self, target: Path) -> WorkspacePaths:
        return WorkspacePaths(Path(shutil.copytree(self.paths.root, target)))

    def put_back(self, older: WorkspacePaths) -> None:
        shutil.rmtree(self.paths.root)
        shutil.copytree(older.root, self.paths.root)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("anchored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALYARD_ANCHORS", str(root / "anchors"))
        asyncio.run(_create(root / "workspace"))
    # The copies must not find the anchor where the template has recorded it.
    (root / "anchors").rename(root / "kept")
    return root


async def _create(folder: Path) -> None:
    await create_workspace_with_device(folder)
    async with open_engine(folder) as engine:
        await sign_with(engine, b"first message")
        await engine.client(DEVELOPER).create_signing(create_request(b"waiting message"))


@pytest.fixture(scope="module")
def signed_template(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a copy of the template in which a second message was signed."""
    root = tmp_path_factory.mktemp("signed")
    anchored = copy_template(template, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALYARD_ANCHORS", str(anchored.anchors))
        assert asyncio.run(sign(anchored.paths.root, b"second message")).status is TaskStatus.DONE
    anchored.anchors.rename(root / "kept")
    return root


def copy_template(template: Path, root: Path) -> Anchored:
    anchored = Anchored(root)
    shutil.copytree(template / "workspace", anchored.paths.root)
    shutil.copytree(template / "kept", anchored.anchors)
    return anchored


@pytest.fixture
def workspace(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Anchored:
    anchored = copy_template(template, tmp_path)
    monkeypatch.setenv("SEALYARD_ANCHORS", str(anchored.anchors))
    return anchored


@pytest.fixture
def signed_workspace(
    template: Path, signed_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Anchored:
    """Return a workspace in which a second message was signed after the copy in ``older``."""
    anchored = copy_template(signed_template, tmp_path)
    shutil.copytree(template / "workspace", anchored.older.root)
    monkeypatch.setenv("SEALYARD_ANCHORS", str(anchored.anchors))
    return anchored


def read_files(*folders: Path) -> dict[Path, bytes]:
    """Return the contents of all files in the folders, except those that each start writes: logs and the lock."""
    paths = [path for folder in folders for path in folder.rglob("*")]
    return {path: path.read_bytes() for path in paths if path.is_file() and path.suffix != ".log"}


def require_refused(folder: Path, match: str) -> None:
    """Check that no engine starts, and that the attempts sign nothing and change nothing a later start depends on."""
    anchors = Path(os.environ["SEALYARD_ANCHORS"])
    records, files = read_records(folder), read_files(folder, anchors)
    for _ in range(REFUSED_STARTS):
        with pytest.raises(AnchorError, match=match) as caught:
            asyncio.run(start(folder))
        assert caught.value.structured_hint.code in (HintCode.ADOPT_WORKSPACE, HintCode.RECOVER_WORKSPACE)
    assert read_records(folder) == records
    assert read_files(folder, anchors) == files


# ---- attacks


def test_untouched_workspace_starts(workspace: Anchored) -> None:
    assert asyncio.run(sign(workspace.paths.root, b"message")).status is TaskStatus.DONE


def test_e8_older_whole_folder_put_back(signed_workspace: Anchored) -> None:
    signed_workspace.put_back(signed_workspace.older)
    require_refused(signed_workspace.paths.root, "An older copy of the workspace was put back")


def test_e8_older_folder_after_a_rejection(workspace: Anchored, tmp_path: Path) -> None:
    """No signature was made since the copy, only an audited decision."""
    older = workspace.copy_to(tmp_path / "older")

    async def reject() -> None:
        async with open_engine(workspace.paths.root) as engine:
            page = await engine.client(ADMIN).tasks(TaskFilter())
            task = next(task for task in page.tasks if task.name == "waiting message")
            await engine.client(OWNER).decide(task.id, Verdict.REJECTED, "wrong")

    asyncio.run(reject())
    workspace.put_back(older)
    require_refused(workspace.paths.root, "An older copy")


def test_copied_folder_without_anchor(workspace: Anchored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = workspace.copy_to(tmp_path / "copy")
    monkeypatch.setenv("SEALYARD_ANCHORS", str(tmp_path / "other machine"))
    shutil.rmtree(workspace.anchors)
    require_refused(copy.root, "no freshness anchor")


def test_removed_anchor(workspace: Anchored) -> None:
    workspace.anchor.unlink()
    require_refused(workspace.paths.root, "no freshness anchor")


def test_anchor_of_another_workspace(workspace: Anchored, tmp_path: Path) -> None:
    asyncio.run(create_empty_workspace(tmp_path / "other"))
    other_id = load_metadata(WorkspacePaths(tmp_path / "other")).id
    shutil.copyfile(workspace.anchors / other_id, workspace.anchor)
    require_refused(workspace.paths.root, "belongs to another workspace")


def test_forged_anchor(workspace: Anchored) -> None:
    content = bytearray(workspace.anchor.read_bytes())
    content[content.index(b'"records":') + len(b'"records":')] ^= 1
    workspace.anchor.write_bytes(content)
    require_refused(workspace.paths.root, "was changed")


def test_two_running_copies_are_noticed(workspace: Anchored, tmp_path: Path) -> None:
    asyncio.run(start(workspace.paths.root))
    copy = workspace.copy_to(tmp_path / "copy")

    async def run_both() -> None:
        async with open_engine(workspace.paths.root) as engine:
            await sign(copy.root, b"in the copy")
            task = await engine.client(DEVELOPER).create_signing(create_request(b"in the original"))
            await engine.client(OWNER).decide(task.id, Verdict.APPROVED)
            await engine.wait_idle()
            ended = await engine.client(DEVELOPER).task(task.id)
            assert (ended.status, ended.reason_code) == (TaskStatus.FAILED, AnchorError.code)

    asyncio.run(run_both())
    require_refused(workspace.paths.root, "another copy|older copy")


def test_two_running_copies_with_own_anchors_are_not_noticed(
    workspace: Anchored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the documentation says: on two machines, each copy has an anchor of its own after it was adopted."""
    copy = workspace.copy_to(tmp_path / "copy")
    with monkeypatch.context() as patch:
        patch.setenv("SEALYARD_ANCHORS", str(tmp_path / "other machine"))
        recorded_file = workspace.anchor
        hidden_file = recorded_file.rename(tmp_path / "hidden")
        recover(copy.root, adopt=True)
        assert asyncio.run(sign(copy.root, b"in the copy")).status is TaskStatus.DONE
        hidden_file.rename(recorded_file)
    assert asyncio.run(sign(workspace.paths.root, b"in the original")).status is TaskStatus.DONE


def test_unwritable_anchor_folder_is_refused(workspace: Anchored) -> None:
    workspace.anchor.unlink()
    workspace.anchors.rmdir()
    workspace.anchors.write_bytes(b"")
    with pytest.raises(StorageError, match="freshness anchor") as caught:
        asyncio.run(start(workspace.paths.root))
    assert "SEALYARD_ANCHORS" in caught.value.hint


# ---- recovery


def test_recovery_of_older_folder(signed_workspace: Anchored) -> None:
    workspace = signed_workspace
    newest = read_records(workspace.paths.root)
    workspace.put_back(workspace.older)
    intents = read_intents(workspace.paths.root)
    found = plan(workspace.paths.root)
    assert found.worker_state.problem is AnchorProblem.AHEAD
    assert found.worker_state.anchor is not None
    assert found.worker_state.anchor.records == len(newest)
    assert found.unfinished_tasks == 1
    require_refused(workspace.paths.root, "older copy")

    assert recover(workspace.paths.root) == found
    assert read_intents(workspace.paths.root)[: len(intents)] == intents
    recovered = asyncio.run(use_recovered(workspace.paths.root))
    assert recovered.tasks["first message"].status is TaskStatus.DONE
    waiting = recovered.tasks["waiting message"]
    assert (waiting.status, waiting.reason_code) == (TaskStatus.CANCELLED, "workspace-recovered")
    [entry] = recovered.recoveries
    assert entry.new_value is not None
    assert entry.new_value["problem"] == "ahead"
    assert entry.new_value["oldAnchor"]["auditSize"] == found.worker_state.anchor.audit_size
    assert entry.new_value["oldAnchor"]["auditRoot"] == found.worker_state.anchor.audit_root
    assert entry.new_value["auditRoot"] == found.audit_root
    assert recovered.signed.status is TaskStatus.DONE
    asyncio.run(start(workspace.paths.root))


def test_newer_folder_is_refused_after_recovery(signed_workspace: Anchored, tmp_path: Path) -> None:
    newer = signed_workspace.copy_to(tmp_path / "newer")
    signed_workspace.put_back(signed_workspace.older)
    recover(signed_workspace.paths.root)
    signed_workspace.put_back(newer)
    with pytest.raises(AnchorError):
        asyncio.run(start(signed_workspace.paths.root))


def test_adoption_of_copied_folder(workspace: Anchored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = workspace.copy_to(tmp_path / "copy")
    shutil.rmtree(workspace.anchors)
    monkeypatch.setenv("SEALYARD_ANCHORS", str(tmp_path / "other machine"))
    with pytest.raises(ConflictError, match="how old this copy is"):
        recover(copy.root)
    assert recover(copy.root, adopt=True).worker_state.problem is AnchorProblem.MISSING
    assert (tmp_path / "other machine" / load_metadata(copy).id).exists()
    recovered = asyncio.run(use_recovered(copy.root))
    assert len(recovered.recoveries) == 1
    assert recovered.signed.status is TaskStatus.DONE


def test_forged_anchor_can_be_replaced_only_by_adoption(workspace: Anchored) -> None:
    write_atomic(workspace.anchor, b"0" * 64 + b" {}\n")
    with pytest.raises(ConflictError):
        recover(workspace.paths.root)
    recover(workspace.paths.root, adopt=True)
    asyncio.run(start(workspace.paths.root))


@pytest.mark.parametrize("adopt", [False, True])
def test_nothing_to_recover(workspace: Anchored, adopt: bool) -> None:
    content = workspace.paths.worker_state.read_bytes()
    with pytest.raises(ConflictError, match="nothing to recover"):
        recover(workspace.paths.root, adopt=adopt)
    assert workspace.paths.worker_state.read_bytes() == content


def test_recovery_of_older_audit_log(workspace: Anchored, tmp_path: Path) -> None:
    """Entries are missing that the store does not contain any more: the log continues without them."""
    older = workspace.copy_to(tmp_path / "older")
    asyncio.run(sign_messages(workspace.paths.root))
    shutil.rmtree(workspace.paths.audit)
    shutil.copytree(older.audit, workspace.paths.audit)
    asyncio.run(compact(workspace.paths))
    with pytest.raises(AuditVerificationError):
        asyncio.run(start(workspace.paths.root))
    found = recover(workspace.paths.root)
    assert found.worker_state.problem is None
    assert found.audit_size < found.worker_state.state.audit_size
    recovered = asyncio.run(use_recovered(workspace.paths.root))
    [entry] = recovered.recoveries
    assert entry.new_value is not None
    assert entry.new_value["oldState"]["auditRoot"] == found.worker_state.state.audit_root
    assert recovered.signed.status is TaskStatus.DONE


async def sign_messages(folder: Path) -> None:
    async with open_engine(folder) as engine:
        for number in range(3):
            await sign_with(engine, f"message {number}".encode())


async def compact(paths: WorkspacePaths) -> None:
    """Compact the store, so that it contains only its newest audit entry."""
    with open_key_holder(paths.root, PASSPHRASE) as key_holder:
        keys = await key_holder.get_engine_keys()
        credentials = StoreCredentials(keys.store_key, load_metadata(paths).id)
        recorded = await key_holder.update_store_generation(None)
        store = TinyDocumentStore.open(StoreOpening.start(paths.store), INDEXES, credentials, recorded)
        store.compact(store.pending_audit()[-1]["seq"] - 1)
        await key_holder.update_store_generation(store.generation)
        store.close()


def test_recovery_of_older_store(signed_workspace: Anchored) -> None:
    paths = signed_workspace.paths
    shutil.rmtree(paths.store)
    shutil.copytree(signed_workspace.older.store, paths.store)
    with pytest.raises(AuditVerificationError, match="store is older"):
        asyncio.run(start(paths.root))
    recover(paths.root)
    recovered = asyncio.run(use_recovered(paths.root))
    assert "second message" not in recovered.tasks
    assert recovered.tasks["waiting message"].status is TaskStatus.CANCELLED
    assert recovered.signed.status is TaskStatus.DONE


def test_forged_state_is_not_recovered(workspace: Anchored) -> None:
    content = workspace.paths.worker_state.read_bytes()
    workspace.paths.worker_state.write_bytes(content.replace(b'"intent"', b'"Intent"', 1))
    with pytest.raises(WorkerStateError, match="was changed"):
        recover(workspace.paths.root)


@pytest.mark.parametrize("adopt", [False, True])
def test_removed_state_is_not_recovered(workspace: Anchored, adopt: bool) -> None:
    workspace.paths.worker_state.unlink()
    with pytest.raises(WorkerStateError, match="missing or empty"):
        recover(workspace.paths.root, adopt=adopt)


def test_changed_audit_log_is_not_recovered(workspace: Anchored) -> None:
    workspace.anchor.unlink()
    path = next(workspace.paths.audit.glob("segment-*"))
    path.write_bytes(path.read_bytes().replace(b"dev", b"own", 1))
    state = workspace.paths.worker_state.read_bytes()
    with pytest.raises(AuditVerificationError):
        recover(workspace.paths.root, adopt=True)
    assert workspace.paths.worker_state.read_bytes() == state


def test_ordinary_key_holder_refuses_to_recover(workspace: Anchored) -> None:
    """A breached engine cannot have the state of its own key holder reset."""
    workspace.anchor.unlink()
    with (
        open_key_holder(workspace.paths.root, PASSPHRASE) as key_holder,
        pytest.raises(PermissionDeniedError, match="not started for a recovery"),
    ):
        asyncio.run(recover_workspace(workspace.paths, key_holder, adopt=True))
