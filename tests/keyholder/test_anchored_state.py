"""Tests of the freshness anchor: when it is written, and which states it refuses."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from sealyard.keyholder.anchor import Anchor, AnchorCodec
from sealyard.keyholder.anchor_stores import AnchorPlaces, FileAnchorStore
from sealyard.keyholder.anchored_state import ANCHOR_INTERVAL, AnchoredWorkerState
from sealyard.keyholder.file_state import FileWorkerState
from sealyard.keyholder.state import Intent, SignedCheckpoint
from sealyard.keyholder.state_access import WorkerStateAccess
from sealyard.keys.master_key import OS_KEYRING
from sealyard.model.errors import AnchorError, SealyardError, StorageError, UsageError, WorkerStateError
from sealyard.model.key_holder_messages import NO_ANCHOR, AnchorProblem, KeyStoreLocation, StateEvent
from sealyard.model.workspace import WorkspacePaths
from tests.keyholder.test_file_state import ONE, OTHER
from tests.support.factories.key_stores import MASTER_KEY, make_key_store
from tests.support.worker_state import read_records

WORKSPACE_ID = "w1"


class AnchoredFolder:
    """A workspace folder with a worker state, and a folder of its own for the anchor."""

    def __init__(self, root: Path) -> None:
        self.paths = WorkspacePaths(root / "workspace")
        self.paths.root.mkdir()
        self.anchors = root / "anchors"
        self.key_store = make_key_store()
        self.codec = AnchorCodec(MASTER_KEY, WORKSPACE_ID)
        self.time = 0.0

    @property
    def anchor_file(self) -> Path:
        return self.anchors / WORKSPACE_ID

    def location(self, *, key_store: str = "passphrase", create: bool = False) -> KeyStoreLocation:
        return KeyStoreLocation(
            workspace=str(self.paths.root),
            workspace_id=WORKSPACE_ID,
            key_store=key_store,
            create=create,
            anchors=str(self.anchors),
        )

    def open(self, *, created: bool = False) -> AnchoredWorkerState:
        places = AnchorPlaces(self.location(), self.key_store, {})
        state = FileWorkerState.open(self.paths, WORKSPACE_ID, self.key_store)
        try:
            return AnchoredWorkerState.open(state, places, self.codec, created=created, clock=lambda: self.time)
        except BaseException:
            state.close()
            raise

    def anchor(self) -> Anchor:
        return self.codec.decode(self.anchor_file.read_bytes(), "test")

    def close(self, state: AnchoredWorkerState) -> None:
        state.flush()
        state.close()

    def require_refused(self, match: str) -> None:
        state, anchor = self.paths.worker_state.read_bytes(), self.read_anchor()
        with pytest.raises(AnchorError, match=match) as caught:
            self.open()
        assert caught.value.hint
        assert (self.paths.worker_state.read_bytes(), self.read_anchor()) == (state, anchor)

    def read_anchor(self) -> bytes | None:
        return self.anchor_file.read_bytes() if self.anchor_file.exists() else None

    def read_state(self) -> bytes:
        return self.paths.worker_state.read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> AnchoredFolder:
    return AnchoredFolder(tmp_path)


def record(state: AnchoredWorkerState, task: str, sha256: str = ONE) -> SealyardError | None:
    return state.record_intents([Intent(task_id=task, fencing_token=1, sha256=sha256)])[0]


# ---- when it is written


def test_new_state_is_anchored(folder: AnchoredFolder) -> None:
    folder.close(folder.open(created=True))
    assert stat.S_IMODE(folder.anchor_file.stat().st_mode) == 0o600
    assert folder.anchor().records == 2
    folder.close(folder.open())
    assert [each["type"] for each in read_records(folder.paths.root)] == ["epoch", "anchor"]


def test_single_signature_is_anchored_before_it_is_permitted(folder: AnchoredFolder) -> None:
    state = folder.open()
    folder.time += ANCHOR_INTERVAL
    assert record(state, "t1") is None
    assert folder.anchor().records == 3
    assert state.flush_delay is None
    state.close()


def test_signatures_in_one_interval_share_a_write(folder: AnchoredFolder) -> None:
    state = folder.open()
    folder.time += ANCHOR_INTERVAL
    for number in range(5):
        assert record(state, f"t{number}") is None
    assert folder.anchor().records == 3
    assert state.flush_delay == ANCHOR_INTERVAL
    state.flush()
    assert folder.anchor().records == 7
    state.close()


def test_checkpoint_is_anchored_with_its_root(folder: AnchoredFolder) -> None:
    state = folder.open()
    folder.time += ANCHOR_INTERVAL
    state.record_checkpoint(SignedCheckpoint(size=3, root=ONE), ())
    assert (folder.anchor().audit_size, folder.anchor().audit_root) == (3, ONE)
    state.close()


def test_state_newer_than_anchor_is_accepted(folder: AnchoredFolder) -> None:
    """A crash comes between the record and its anchor."""
    state = folder.open()
    assert record(state, "t1") is None
    state.close()
    assert folder.anchor().records == 2
    state = folder.open()
    assert folder.anchor().records == 3
    state.close()


def test_crash_between_first_anchor_and_its_record_is_completed(folder: AnchoredFolder) -> None:
    folder.close(folder.open())
    lines = folder.read_state().splitlines(keepends=True)
    folder.paths.worker_state.write_bytes(lines[0])
    position = FileWorkerState.open(folder.paths, WORKSPACE_ID, folder.key_store)
    anchor = Anchor(
        workspace=WORKSPACE_ID,
        epoch=position.position.epoch,
        records=1,
        last_mac=position.last_mac,
        audit_size=0,
        audit_root="",
    )
    position.close()
    folder.anchor_file.write_bytes(folder.codec.encode(anchor))
    folder.close(folder.open())
    assert folder.anchor().records == 2


def test_existing_workspace_is_anchored_and_audited_once(folder: AnchoredFolder) -> None:
    FileWorkerState.open(folder.paths, WORKSPACE_ID, folder.key_store).close()
    state = folder.open()
    event = StateEvent(record=2, anchor=str(folder.anchor_file))
    assert state.info.unaudited == (event,)
    folder.close(state)
    state = folder.open()
    assert state.info.unaudited == (event,)
    state.record_audited()
    folder.close(state)
    state = folder.open()
    assert state.info.unaudited == ()
    folder.close(state)


@pytest.mark.parametrize("failure", ["load", "save"])
def test_unwritable_anchor_stops_signing(folder: AnchoredFolder, monkeypatch: pytest.MonkeyPatch, failure: str) -> None:
    def fail(*_: object) -> None:
        raise StorageError("Disk error.", "Check the disk.")

    state = folder.open()
    folder.time += ANCHOR_INTERVAL
    with monkeypatch.context() as patch:
        patch.setattr(FileAnchorStore, failure, fail)
        for task in ("t1", "t2"):
            with pytest.raises(StorageError):
                record(state, task)
    assert record(state, "t3") is None
    assert folder.anchor().records == 5
    state.close()


def test_anchor_in_unwritable_folder_is_refused_at_start(folder: AnchoredFolder) -> None:
    folder.anchors.write_bytes(b"")
    with pytest.raises(StorageError, match="freshness anchor") as caught:
        folder.open()
    assert "SEALYARD_ANCHORS" in caught.value.hint


# ---- what is refused


def test_older_state_is_refused(folder: AnchoredFolder) -> None:
    folder.close(folder.open())
    older = folder.read_state()
    state = folder.open()
    record(state, "t1")
    folder.close(state)
    folder.paths.worker_state.write_bytes(older)
    folder.require_refused("older copy")


def test_other_branch_of_state_is_refused(folder: AnchoredFolder) -> None:
    folder.close(folder.open())
    common, anchor = folder.read_state(), folder.anchor_file.read_bytes()
    state = folder.open()
    record(state, "t1", ONE)
    folder.close(state)
    newest = folder.anchor_file.read_bytes()
    folder.paths.worker_state.write_bytes(common)
    folder.anchor_file.write_bytes(anchor)
    state = folder.open()
    record(state, "t1", OTHER)
    record(state, "t2")
    folder.close(state)
    folder.anchor_file.write_bytes(newest)
    folder.require_refused("another copy")


def test_removed_anchor_is_refused(folder: AnchoredFolder) -> None:
    folder.close(folder.open())
    folder.anchor_file.unlink()
    folder.require_refused("no freshness anchor")


def test_each_changed_byte_of_anchor_is_refused(folder: AnchoredFolder) -> None:
    folder.close(folder.open())
    content = folder.anchor_file.read_bytes()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        folder.anchor_file.write_bytes(changed)
        folder.require_refused("damaged, was changed")
    for length in range(len(content)):
        folder.anchor_file.write_bytes(content[:length])
        folder.require_refused("damaged, was changed")


@pytest.mark.parametrize(
    "codec", [AnchorCodec(bytes(32), WORKSPACE_ID), AnchorCodec(MASTER_KEY, "w2")], ids=["key store", "workspace"]
)
def test_anchor_of_other_origin_is_refused(folder: AnchoredFolder, codec: AnchorCodec) -> None:
    folder.close(folder.open())
    anchor = folder.anchor()
    other = Anchor(
        workspace=codec.workspace_id,
        epoch=anchor.epoch,
        records=anchor.records,
        last_mac=anchor.last_mac,
        audit_size=0,
        audit_root="",
    )
    folder.anchor_file.write_bytes(codec.encode(other))
    folder.require_refused("belongs to another workspace")


def test_second_running_copy_stops_the_first(folder: AnchoredFolder, tmp_path: Path) -> None:
    folder.close(folder.open())
    (tmp_path / "second").mkdir()
    second = AnchoredFolder(tmp_path / "second")
    second.key_store, second.anchors = folder.key_store, folder.anchors
    second.paths.worker_state.parent.mkdir()
    second.paths.worker_state.write_bytes(folder.read_state())
    state, other_state = folder.open(), second.open()
    second.time = folder.time = 2 * ANCHOR_INTERVAL
    assert record(other_state, "t1", OTHER) is None
    for task in ("t1", "t2"):
        with pytest.raises(AnchorError, match="Another copy"):
            record(state, task)
    state.close()
    other_state.close()


# ---- where it is kept


def test_anchor_moves_to_configured_folder(folder: AnchoredFolder, tmp_path: Path) -> None:
    folder.close(folder.open())
    old_file = folder.anchor_file
    folder.anchors = tmp_path / "new"
    folder.close(folder.open())
    assert not old_file.exists()
    assert folder.anchor().records == 3
    folder.close(folder.open())


def test_recorded_place_is_used_without_configuration(folder: AnchoredFolder) -> None:
    folder.close(folder.open())
    places = AnchorPlaces(
        KeyStoreLocation(workspace=str(folder.paths.root), workspace_id=WORKSPACE_ID, key_store="passphrase"),
        folder.key_store,
        {},
    )
    assert places.select(str(folder.anchor_file)).location == str(folder.anchor_file)


def test_default_place_is_in_state_folder(
    folder: AnchoredFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    location = KeyStoreLocation(workspace=str(folder.paths.root), workspace_id=WORKSPACE_ID, key_store="passphrase")
    selected = AnchorPlaces(location, folder.key_store, {}).select(None)
    assert selected.location == str(tmp_path / "state" / "sealyard" / "anchors" / WORKSPACE_ID)


def test_os_keyring_keeps_the_anchor_beside_the_master_key(folder: AnchoredFolder) -> None:
    location = KeyStoreLocation(workspace=str(folder.paths.root), workspace_id=WORKSPACE_ID, key_store=OS_KEYRING)
    access = WorkerStateAccess(location, folder.key_store)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SEALYARD_ANCHORS")
        state = access.open()
        state.flush()
        state.close()
        assert access.inspect().location == "OS keyring"
        assert folder.key_store.load_anchor() is not None
        folder.key_store.delete_anchor()
        with pytest.raises(AnchorError, match="no freshness anchor in OS keyring"):
            access.open()


@pytest.mark.parametrize("configured", ["anchors", "inside", "link"])
def test_unsuitable_folder_is_refused(folder: AnchoredFolder, tmp_path: Path, configured: str) -> None:
    (tmp_path / "link").symlink_to(folder.paths.root)
    path = {"anchors": "anchors", "inside": folder.paths.root / "anchors", "link": tmp_path / "link"}[configured]
    location = KeyStoreLocation(workspace=str(folder.paths.root), workspace_id="w1", key_store="passphrase")
    with pytest.raises(UsageError) as caught:
        AnchorPlaces(location, folder.key_store, {"SEALYARD_ANCHORS": str(path)})
    assert caught.value.hint


def test_switching_the_anchor_off_is_audited(folder: AnchoredFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_ANCHORS")
    folder.close(folder.open(created=True))
    location = folder.location()
    access = WorkerStateAccess(replace_anchors(location, NO_ANCHOR), folder.key_store)
    state = access.open()
    assert [event.anchor for event in state.info.unaudited] == [NO_ANCHOR]
    state.close()
    folder.close(folder.open())
    assert [event.anchor for event in open_info(folder)] == [NO_ANCHOR, str(folder.anchor_file)]


def replace_anchors(location: KeyStoreLocation, anchors: str) -> KeyStoreLocation:
    return KeyStoreLocation(
        workspace=location.workspace,
        workspace_id=location.workspace_id,
        key_store=location.key_store,
        anchors=anchors,
    )


def open_info(folder: AnchoredFolder) -> tuple[StateEvent, ...]:
    state = folder.open()
    folder.close(state)
    return state.info.unaudited


# ---- inspection


def put_back_older(folder: AnchoredFolder) -> None:
    older = folder.read_state()
    state = folder.open()
    record(state, "t1")
    folder.close(state)
    folder.paths.worker_state.write_bytes(older)


def remove_anchor(folder: AnchoredFolder) -> None:
    folder.anchor_file.unlink()


def forge_anchor(folder: AnchoredFolder) -> None:
    folder.anchor_file.write_bytes(b"0" * 64 + b" {}\n")


def restore_key_store(folder: AnchoredFolder) -> None:
    folder.key_store.save_state_epoch("of another copy")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda _: None, None),
        (put_back_older, AnchorProblem.AHEAD),
        (remove_anchor, AnchorProblem.MISSING),
        (forge_anchor, AnchorProblem.DAMAGED),
        (restore_key_store, AnchorProblem.EPOCH),
    ],
)
def test_inspection_names_the_problem(
    folder: AnchoredFolder, change: Callable[[AnchoredFolder], None], problem: AnchorProblem | None
) -> None:
    folder.close(folder.open())
    change(folder)
    report = WorkerStateAccess(folder.location(), folder.key_store).inspect()
    assert report.problem is problem
    assert report.location == str(folder.anchor_file)


def test_damaged_state_is_not_inspected(folder: AnchoredFolder) -> None:
    folder.close(folder.open())
    folder.paths.worker_state.write_bytes(folder.read_state().replace(b"epoch", b"Epoch"))
    with pytest.raises(WorkerStateError):
        WorkerStateAccess(folder.location(), folder.key_store).inspect()
