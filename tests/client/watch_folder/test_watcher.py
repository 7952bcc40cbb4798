"""Test the watch folder: which files become a package, when, and only once."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import watchfiles

from sealyard.client.config.settings import DropAction
from sealyard.client.downloads.events import DownloadedFile, VerifiedBy
from sealyard.client.downloads.history import DownloadHistory
from sealyard.client.source_paths import SourcePaths
from sealyard.client.watch_folder import changes
from sealyard.client.watch_folder.watcher import (
    RESCAN_SECONDS,
    DropDeferred,
    DropRejected,
    DropSubmitted,
    FolderWatcher,
    PackageProposal,
    WatchEvent,
)
from sealyard.model.errors import FormatLimitError, InvalidInputError, NotFoundError, StorageError, UsageError
from tests.support.fake_client import FakeClient, FakeClock
from tests.support.limits import TIMEOUT

SETTLE = 2.0

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports files open for writing")


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the record of uploaded paths away from that of the user who runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state home"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "drop"
    path.mkdir()
    return path


class WatchHarness:
    """A folder watcher that records its events."""

    def __init__(self, client: FakeClient, folder: Path, clock: FakeClock, rule: DropAction) -> None:
        self.events: list[WatchEvent] = []
        self.clock = clock
        self.watcher = FolderWatcher(
            client.as_client,
            folder,
            "door",
            self.events.append,
            state=folder.parent / "watch.json",
            rule=rule,
            settle=SETTLE,
            justification="nightly build",
            clock=clock,
        )

    def first_proposal(self) -> PackageProposal:
        """Return the first event, which must be a proposal."""
        first = self.events[0]
        assert isinstance(first, PackageProposal)
        return first

    def scan(self) -> float | None:
        return asyncio.run(self.watcher.scan_once())

    def settle(self) -> None:
        """Scan, let the settle time pass, and scan again."""
        self.scan()
        self.clock.advance(SETTLE)
        self.scan()


StartWatch = Callable[[DropAction], WatchHarness]


def deny_access(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deny read access to a folder. A mode of 0 is not enough, because the tests may run as root."""
    scan = os.scandir

    def scandir(path: str | Path) -> Any:
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.fixture
def start_watch(client: FakeClient, folder: Path, clock: FakeClock) -> StartWatch:
    """Return a function that starts a new watcher with the same folder and state."""
    return lambda rule: WatchHarness(client, folder, clock, rule)


@pytest.fixture
def watch(start_watch: StartWatch) -> WatchHarness:
    return start_watch(DropAction.SUBMIT)


# ---- package contents


def test_each_existing_file_becomes_package(client: FakeClient, folder: Path, watch: WatchHarness) -> None:
    (folder / "a.bin").write_bytes(b"first")
    (folder / "b.bin").write_bytes(b"second")
    watch.settle()
    assert [(task.name, [each.name for each in task.inputs]) for task in client.created] == [
        ("a.bin", ["a.bin"]),
        ("b.bin", ["b.bin"]),
    ]
    assert all(isinstance(each, DropSubmitted) for each in watch.events)


def test_package_has_justification_and_known_path(client: FakeClient, folder: Path, watch: WatchHarness) -> None:
    (folder / "a.bin").write_bytes(b"first")
    watch.settle()
    (task,) = client.created
    assert task.justification == "nightly build"
    assert SourcePaths().find(task.inputs[0].sha256, 5) == folder / "a.bin"


def test_sub_folder_becomes_one_package(client: FakeClient, folder: Path, watch: WatchHarness) -> None:
    release = folder / "release 7"
    (release / "metadata").mkdir(parents=True)
    for name in ("b.bin", "a.bin", "c.json", "poetry.lock"):
        (release / name).write_bytes(name.encode())
    (release / "metadata" / "notes.txt").write_bytes(b"notes")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "~$notes.docx", "#a.bin#", "a.bin~"):
        (release / name).write_bytes(b"rubbish")
    (release / "metadata" / "Thumbs.db").write_bytes(b"rubbish")
    watch.settle()
    (task,) = client.created
    assert task.name == "release 7"
    assert [each.name for each in task.inputs] == ["a.bin", "b.bin", "c.json", "poetry.lock"]
    assert [each.name for each in task.metadata] == ["notes.txt"]


@pytest.mark.parametrize(
    "name",
    [
        *(".hidden", "x.bin~", "#release.json#", "~$notes.docx", "Thumbs.db", "desktop.ini"),
        *("x.part", "x.tmp", "X.CRDOWNLOAD", "x.filepart", "x.aria2", "x.opdownload", "x.!qB", "x.!ut", "x.uploading"),
        *("x.rsync-partial", "x_.gstmp", "x.lock"),
    ],
)
def test_hidden_and_temporary_files_are_ignored(
    client: FakeClient, folder: Path, watch: WatchHarness, name: str
) -> None:
    (folder / name).write_bytes(b"x")
    watch.settle()
    assert (client.created, watch.events) == ([], [])
    assert watch.scan() is None


@pytest.mark.parametrize("name", ["#", "#1.bin", "4913", "fw.20261129", "fw.firmware", "thumbs.db.bin", "part", "lock"])
def test_names_similar_to_temporary_ones_become_packages(
    client: FakeClient, folder: Path, watch: WatchHarness, name: str
) -> None:
    (folder / name).write_bytes(b"x")
    watch.settle()
    assert [task.name for task in client.created] == [name]


@pytest.mark.parametrize("name", ["$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX", "@eaDir"])
def test_system_folders_are_ignored(client: FakeClient, folder: Path, watch: WatchHarness, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "x.bin").write_bytes(b"x")
    watch.settle()
    assert (client.created, watch.events) == ([], [])


def test_links_and_pipes_are_ignored(client: FakeClient, folder: Path, watch: WatchHarness) -> None:
    target = folder.parent / "elsewhere.bin"
    target.write_bytes(b"x")
    (folder / "link.bin").symlink_to(target)
    os.mkfifo(folder / "pipe")
    watch.settle()
    assert (client.created, watch.events) == ([], [])


def test_empty_file_waits_for_content(client: FakeClient, folder: Path, watch: WatchHarness) -> None:
    (folder / "a.bin").touch()
    watch.settle()
    assert client.created == []
    (folder / "a.bin").write_bytes(b"now")
    watch.settle()
    assert len(client.created) == 1


@pytest.mark.parametrize("incomplete", ["next.bin.part", "empty.bin"])
def test_incomplete_sub_folder_waits(client: FakeClient, folder: Path, watch: WatchHarness, incomplete: str) -> None:
    release = folder / "release"
    release.mkdir()
    (release / "a.bin").write_bytes(b"a")
    (release / incomplete).write_bytes(b"half" if incomplete.endswith(".part") else b"")
    watch.settle()
    assert client.created == []
    (release / incomplete).write_bytes(b"whole")
    (release / incomplete).rename(release / "next.bin")
    watch.settle()
    assert [each.name for each in client.created[0].inputs] == ["a.bin", "next.bin"]


def test_empty_sub_folder_waits(client: FakeClient, folder: Path, watch: WatchHarness) -> None:
    (folder / "release").mkdir()
    watch.settle()
    assert (client.created, watch.events) == ([], [])


@pytest.mark.parametrize("kind", ["folder", "symbolic link"])
def test_unsupported_entry_rejects_sub_folder(client: FakeClient, folder: Path, watch: WatchHarness, kind: str) -> None:
    release = folder / "release"
    release.mkdir()
    (release / "a.bin").write_bytes(b"a")
    odd = release / "odd"
    odd.mkdir() if kind == "folder" else odd.symlink_to(release / "a.bin")
    watch.settle()
    (rejection,) = watch.events
    assert isinstance(rejection, DropRejected)
    assert f"contains odd, which is a {kind}" in rejection.error.message
    assert client.created == []


def test_non_unicode_name_is_rejected_escaped(folder: Path, watch: WatchHarness) -> None:
    (folder / os.fsdecode(b"\xff.bin")).write_bytes(b"x")
    watch.settle()
    (rejection,) = watch.events
    assert isinstance(rejection, DropRejected)
    assert rejection.name == "\\udcff.bin"


# ---- settling


def test_growing_file_waits_until_settled(
    client: FakeClient, folder: Path, watch: WatchHarness, clock: FakeClock
) -> None:
    file = folder / "a.bin"
    for length in range(1, 5):
        file.write_bytes(b"x" * length)
        assert watch.scan() == SETTLE
        clock.advance(SETTLE - 0.5)
        assert watch.scan() == 0.5
        assert client.created == []
    clock.advance(SETTLE)
    assert watch.scan() is None
    assert client.created[0].inputs[0].size == 4


@linux_only
def test_file_open_for_writing_waits_until_closed(client: FakeClient, folder: Path, watch: WatchHarness) -> None:
    with (folder / "fw.bin").open("wb") as file:
        file.write(b"half")
        file.flush()
        watch.settle()
        watch.clock.advance(10 * SETTLE)
        assert watch.scan() == SETTLE
        (deferral,) = watch.events
        assert isinstance(deferral, DropDeferred)
        assert "fw.bin open for writing" in deferral.error.message
        file.write(b" and whole")
    watch.settle()
    assert [(task.name, task.inputs[0].size) for task in client.created] == [("fw.bin", 14)]


@linux_only
def test_open_metadata_file_defers_sub_folder(client: FakeClient, folder: Path, watch: WatchHarness) -> None:
    (folder / "release" / "metadata").mkdir(parents=True)
    (folder / "release" / "a.bin").write_bytes(b"a")
    with (folder / "release" / "metadata" / "notes.txt").open("wb") as file:
        file.write(b"notes")
        file.flush()
        watch.settle()
        assert client.created == []
    watch.clock.advance(SETTLE)
    watch.scan()
    assert [task.name for task in client.created] == ["release"]


def test_file_open_for_reading_is_submitted(client: FakeClient, folder: Path, watch: WatchHarness) -> None:
    (folder / "fw.bin").write_bytes(b"x")
    with (folder / "fw.bin").open("rb"):
        watch.settle()
    assert [task.name for task in client.created] == ["fw.bin"]


def test_file_changed_during_upload_waits_again(client: FakeClient, folder: Path, watch: WatchHarness) -> None:
    file = folder / "a.bin"
    file.write_bytes(b"half")

    def append(_: Path) -> None:
        file.write_bytes(b"half and whole")
        client.on_upload = lambda _: None

    client.on_upload = append
    watch.settle()
    assert (client.created, watch.events) == ([], [])
    assert [each.size for each in client.discarded_uploads] == [4]
    watch.settle()
    assert [each.size for each in client.created[0].inputs] == [14]


def test_vanished_file_is_forgotten(client: FakeClient, folder: Path, watch: WatchHarness) -> None:
    (folder / "a.bin").write_bytes(b"x")
    assert watch.scan() == SETTLE
    (folder / "a.bin").unlink()
    assert watch.scan() is None
    assert watch.events == []


@pytest.mark.parametrize("inside", ["", "metadata"])
def test_unreadable_folder_is_reported_once(
    client: FakeClient, folder: Path, watch: WatchHarness, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    (folder / "closed" / inside).mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"x")
    deny_access(folder / "closed" / inside, monkeypatch)
    watch.settle()
    watch.settle()
    (rejection,) = (each for each in watch.events if isinstance(each, DropRejected))
    assert rejection.name == "closed"
    assert "Cannot read it (Permission denied)" in rejection.error.message
    assert [task.name for task in client.created] == ["a.bin"]


def test_folder_made_readable_becomes_package(
    client: FakeClient, folder: Path, watch: WatchHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "closed").mkdir()
    (folder / "closed" / "a.bin").write_bytes(b"x")
    with monkeypatch.context() as patch:
        deny_access(folder / "closed", patch)
        watch.settle()
    watch.settle()
    assert [task.name for task in client.created] == ["closed"]


# ---- duplicates and errors


def test_restart_does_not_submit_again(
    client: FakeClient, folder: Path, watch: WatchHarness, start_watch: StartWatch
) -> None:
    (folder / "a.bin").write_bytes(b"x")
    watch.settle()
    watch.settle()
    restarted = start_watch(DropAction.SUBMIT)
    restarted.settle()
    assert (len(client.created), restarted.events) == (1, [])


def test_touched_file_is_not_submitted_again(
    client: FakeClient, folder: Path, watch: WatchHarness, start_watch: StartWatch
) -> None:
    (folder / "a.bin").write_bytes(b"x")
    watch.settle()
    os.utime(folder / "a.bin", (1, 1))
    watch.settle()
    start_watch(DropAction.PROPOSE).settle()
    assert (len(client.created), len(watch.events)) == (1, 1)


def test_new_content_becomes_new_package(client: FakeClient, folder: Path, watch: WatchHarness) -> None:
    (folder / "a.bin").write_bytes(b"one")
    watch.settle()
    (folder / "a.bin").write_bytes(b"another")
    watch.settle()
    assert [task.inputs[0].size for task in client.created] == [3, 7]


def test_crash_after_submission_creates_one_task(
    client: FakeClient, folder: Path, watch: WatchHarness, start_watch: StartWatch
) -> None:
    (folder / "a.bin").write_bytes(b"x")
    client.crash_after_create = True
    with pytest.raises(KeyboardInterrupt):
        watch.settle()
    client.crash_after_create = False
    restarted = start_watch(DropAction.SUBMIT)
    restarted.settle()
    (event,) = restarted.events
    assert isinstance(event, DropSubmitted)
    assert [task.id for task in client.created] == [event.task.id]


def test_damaged_state_creates_no_second_task(
    client: FakeClient, folder: Path, watch: WatchHarness, start_watch: StartWatch
) -> None:
    (folder / "a.bin").write_bytes(b"x")
    watch.settle()
    (folder.parent / "watch.json").write_bytes(b"{")
    restarted = start_watch(DropAction.SUBMIT)
    assert "damaged" in restarted.watcher.warning
    restarted.settle()
    assert len(client.created) == 1


def test_unwritable_state_is_warned_and_creates_one_task(client: FakeClient, folder: Path, clock: FakeClock) -> None:
    (folder.parent / "file").touch()
    events: list[WatchEvent] = []
    for _ in range(2):
        watcher = FolderWatcher(
            client.as_client,
            folder,
            "door",
            events.append,
            state=folder.parent / "file" / "watch.json",
            rule=DropAction.SUBMIT,
            clock=clock,
        )
        assert "XDG_STATE_HOME" in watcher.warning
        (folder / "a.bin").write_bytes(b"x")
        for _ in range(3):
            asyncio.run(watcher.scan_once())
            clock.advance(SETTLE)
    assert [type(event) for event in events] == [DropSubmitted, DropSubmitted]
    assert len(client.created) == 1


def test_rejected_file_is_reported_once(client: FakeClient, folder: Path, watch: WatchHarness) -> None:
    (folder / "a.bin").write_bytes(b"x")
    client.create_error = FormatLimitError("Too large for se-1.", "Use se-2.")
    watch.settle()
    watch.settle()
    (rejection,) = watch.events
    assert isinstance(rejection, DropRejected)
    assert (rejection.name, rejection.error.code) == ("a.bin", "format-limit")
    assert len(client.discarded_uploads) == 1
    client.create_error = None
    (folder / "a.bin").write_bytes(b"other")
    watch.settle()
    assert len(client.created) == 1


def test_temporary_error_is_retried_with_backoff(
    client: FakeClient, folder: Path, watch: WatchHarness, clock: FakeClock
) -> None:
    (folder / "a.bin").write_bytes(b"x")
    client.upload_error = StorageError("The disk is full.")
    watch.settle()
    delays: list[float] = []
    for _ in range(8):
        delay = watch.scan()
        assert delay is not None
        delays.append(delay)
        clock.advance(delay)
        watch.scan()
    assert delays == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    assert all(isinstance(each, DropDeferred) for each in watch.events)
    client.upload_error = None
    clock.advance(300)
    watch.scan()
    assert len(client.created) == 1


# ---- proposals


def test_proposal_is_made_and_submitted_once(client: FakeClient, folder: Path, start_watch: StartWatch) -> None:
    (folder / "a.bin").write_bytes(b"x")
    watch = start_watch(DropAction.PROPOSE)
    watch.settle()
    watch.settle()
    (proposal,) = watch.events
    assert isinstance(proposal, PackageProposal)
    assert (proposal.name, proposal.firmware) == ("a.bin", (str(folder / "a.bin"),))
    assert client.created == []
    first = asyncio.run(watch.watcher.submit(proposal))
    assert asyncio.run(watch.watcher.submit(proposal)) == first
    assert len(client.created) == 1
    restarted = start_watch(DropAction.PROPOSE)
    restarted.settle()
    assert restarted.events == []


def test_open_proposal_is_repeated_after_restart(folder: Path, start_watch: StartWatch) -> None:
    (folder / "a.bin").write_bytes(b"x")
    for _ in range(2):
        watch = start_watch(DropAction.PROPOSE)
        watch.settle()
        assert len(watch.events) == 1


def test_dismissed_proposal_returns_after_change(folder: Path, start_watch: StartWatch) -> None:
    (folder / "a.bin").write_bytes(b"x")
    watch = start_watch(DropAction.PROPOSE)
    watch.settle()
    asyncio.run(watch.watcher.dismiss(watch.first_proposal()))
    restarted = start_watch(DropAction.PROPOSE)
    restarted.settle()
    assert restarted.events == []
    (folder / "a.bin").write_bytes(b"other")
    restarted.settle()
    assert len(restarted.events) == 1


def test_proposal_of_changed_file_is_rejected(client: FakeClient, folder: Path, start_watch: StartWatch) -> None:
    (folder / "a.bin").write_bytes(b"x")
    watch = start_watch(DropAction.PROPOSE)
    watch.settle()
    (folder / "a.bin").write_bytes(b"changed")
    with pytest.raises(InvalidInputError, match="changed since"):
        asyncio.run(watch.watcher.submit(watch.first_proposal()))
    assert client.created == []
    assert len(client.discarded_uploads) == 1


# ---- automatic watch


@pytest.mark.parametrize("polling", [False, True])
def test_file_dropped_during_run_becomes_package(client: FakeClient, folder: Path, polling: bool) -> None:
    async def run() -> None:
        events: asyncio.Queue[WatchEvent] = asyncio.Queue()

        async def next_proposal() -> PackageProposal:
            event = await events.get()
            assert isinstance(event, DropSubmitted)
            return event.proposal

        watch = FolderWatcher(
            client.as_client,
            folder,
            "door",
            events.put_nowait,
            state=folder.parent / "watch.json",
            rule=DropAction.SUBMIT,
            settle=0.05,
            force_polling=polling,
        )
        (folder / "before.bin").write_bytes(b"x")
        before = asyncio.all_tasks()
        call = asyncio.create_task(watch.run())
        assert (await next_proposal()).name == "before.bin"
        (folder / "release").mkdir()
        (folder / "release" / "inside.bin").write_bytes(b"y")
        assert (await next_proposal()).firmware == (str(folder / "release" / "inside.bin"),)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert asyncio.all_tasks() == before

    asyncio.run(asyncio.wait_for(run(), TIMEOUT))


WATCH_ERRORS = [
    PermissionError(errno.EACCES, "closed"),
    OSError(errno.EMFILE, "no inotify instances left"),
    ExceptionGroup("wrapped", [OSError(errno.ENOSPC, "no watches left")]),
    ExceptionGroup("wrapped", [RuntimeError("closed")]),
]


@pytest.mark.parametrize("error", WATCH_ERRORS)
def test_watch_error_falls_back_to_polling(
    client: FakeClient,
    folder: Path,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    async def awatch(*_: object, **__: object) -> AsyncIterator[None]:
        raise error
        yield None

    monkeypatch.setattr(watchfiles, "awatch", awatch)
    asyncio.run(asyncio.wait_for(drop_file_during_run(client, folder, clock), TIMEOUT))
    (record,) = caplog.records
    assert "polling instead" in record.getMessage()


@pytest.mark.parametrize("is_network", [False, True])
def test_polling_starts_no_watch(
    client: FakeClient, folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, is_network: bool
) -> None:
    monkeypatch.setattr(watchfiles, "awatch", None)
    monkeypatch.setattr(changes, "is_on_network", lambda _: is_network)
    asyncio.run(asyncio.wait_for(drop_file_during_run(client, folder, clock, force_polling=not is_network), TIMEOUT))


def test_folder_without_change_events_is_rescanned(
    client: FakeClient, folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def awatch(*_: object, **__: object) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield None

    monkeypatch.setattr(watchfiles, "awatch", awatch)
    asyncio.run(asyncio.wait_for(drop_file_during_run(client, folder, clock), TIMEOUT))
    assert RESCAN_SECONDS in clock.slept


async def drop_file_during_run(
    client: FakeClient, folder: Path, clock: FakeClock, *, force_polling: bool = False
) -> None:
    """Start a watcher, wait for its first scan, drop a file, and wait for its package."""
    watcher = FolderWatcher(
        client.as_client,
        folder,
        "door",
        lambda _: None,
        state=folder.parent / "watch.json",
        rule=DropAction.SUBMIT,
        force_polling=force_polling,
        clock=clock,
    )
    call = asyncio.create_task(watcher.run())
    while not clock.slept:
        await asyncio.sleep(0)
    (folder / "a.bin").write_bytes(b"x")
    while not client.created:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [task.name for task in client.created] == ["a.bin"]


def test_missing_folder_is_rejected(client: FakeClient, folder: Path, watch: WatchHarness) -> None:
    folder.rmdir()
    with pytest.raises(InvalidInputError, match="watch folder"):
        asyncio.run(watch.watcher.run())


def test_removed_folder_ends_watch(client: FakeClient, folder: Path) -> None:
    async def run() -> None:
        events: asyncio.Queue[WatchEvent] = asyncio.Queue()
        watch = FolderWatcher(
            client.as_client, folder, "door", events.put_nowait, state=folder.parent / "watch.json", settle=0.05
        )
        (folder / "a.bin").write_bytes(b"x")
        call = asyncio.create_task(watch.run())
        await events.get()
        (folder / "a.bin").unlink()
        folder.rmdir()
        with pytest.raises(InvalidInputError):
            await call

    asyncio.run(asyncio.wait_for(run(), TIMEOUT))


def test_unknown_device_is_rejected(client: FakeClient, folder: Path, clock: FakeClock) -> None:
    watch = FolderWatcher(
        client.as_client, folder, "window", lambda _: None, state=folder.parent / "watch.json", clock=clock
    )
    with pytest.raises(NotFoundError):
        asyncio.run(watch.run())


def test_non_unicode_folder_is_rejected(client: FakeClient, folder: Path) -> None:
    with pytest.raises(UsageError):
        FolderWatcher(
            client.as_client, folder / os.fsdecode(b"\xff"), "door", lambda _: None, state=folder / "watch.json"
        )


# ---- results


@pytest.mark.parametrize("downloads", [".", "below", "linked"])
def test_download_folder_is_rejected(folder: Path, client: FakeClient, downloads: str) -> None:
    (folder.parent / "linked").symlink_to(folder)
    path = folder.parent / "linked" if downloads == "linked" else folder / downloads
    with pytest.raises(UsageError):
        FolderWatcher(
            client.as_client, folder, "door", lambda _: None, state=folder.parent / "watch.json", downloads=path
        )


def test_downloaded_result_is_not_packed_again(client: FakeClient, folder: Path, clock: FakeClock) -> None:
    state = DownloadHistory(folder.parent / "downloads.json")
    container = b"a downloaded container"
    state.mark_downloaded(
        DownloadedFile(
            task_id="task1",
            path=str(folder.parent / "results" / "firmware.se1"),
            size=len(container),
            sha256=hashlib.sha256(container).hexdigest(),
            checked=VerifiedBy.SIGNATURE,
            at=clock.now(),
        )
    )
    (folder / "moved here.se1").write_bytes(container)
    (folder / "same size.bin").write_bytes(container[::-1])
    events: list[WatchEvent] = []
    watch = FolderWatcher(
        client.as_client,
        folder,
        "door",
        events.append,
        state=folder.parent / "watch.json",
        downloads=folder.parent / "results",
        downloaded=DownloadHistory(folder.parent / "downloads.json"),
        clock=clock,
    )
    asyncio.run(watch.scan_once())
    clock.advance(SETTLE)
    assert asyncio.run(watch.scan_once()) is None
    assert [isinstance(each, PackageProposal) and each.name for each in events] == ["same size.bin"]
