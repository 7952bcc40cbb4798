"""The watch folder: what becomes a package, when, and that it becomes one once."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import watchfiles

from sealyard.client.config.settings import DropAction
from sealyard.client.downloads.events import DownloadedFile, VerifiedBy
from sealyard.client.downloads.history import DownloadHistory
from sealyard.client.watch_folder.watcher import (
    DropDeferred,
    DropRejected,
    DropSubmitted,
    FolderWatcher,
    PackageProposal,
    WatchEvent,
)
from sealyard.model.errors import FormatLimitError, InvalidInputError, NotFoundError, StorageError, UsageError
from tests.support.fake_client import FakeClient, FakeClock

SETTLE = 2.0


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "drop"
    made.mkdir()
    return made


class Watch:
    """A watch folder with all it told."""

    def __init__(self, client: FakeClient, folder: Path, clock: FakeClock, rule: DropAction) -> None:
        self.told: list[WatchEvent] = []
        self.clock = clock
        self.folder = FolderWatcher(
            client.as_client,
            folder,
            "door",
            self.told.append,
            state=folder.parent / "watch.json",
            rule=rule,
            settle=SETTLE,
            clock=clock,
        )

    def offer(self) -> PackageProposal:
        """What was told first."""
        first = self.told[0]
        assert isinstance(first, PackageProposal)
        return first

    def look(self) -> float | None:
        return asyncio.run(self.folder.scan_once())

    def settle(self) -> None:
        """Looks, lets the settling time pass, and looks again."""
        self.look()
        self.clock.advance(SETTLE)
        self.look()


Begin = Callable[[DropAction], Watch]


def close(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As somebody else's folder of mode 0700 is; the tests may run as root, who may read all."""
    scan = os.scandir

    def scandir(path: str | Path) -> Any:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.fixture
def begin(client: FakeClient, folder: Path, clock: FakeClock) -> Begin:
    """Each call is a new start over the same folder and memory."""
    return lambda rule: Watch(client, folder, clock, rule)


@pytest.fixture
def watch(begin: Begin) -> Watch:
    return begin(DropAction.SUBMIT)


# ---- what makes a package


def test_each_file_that_was_there_before_the_start_is_one_package(
    client: FakeClient, folder: Path, watch: Watch
) -> None:
    (folder / "a.bin").write_bytes(b"first")
    (folder / "b.bin").write_bytes(b"second")
    watch.settle()
    assert [(task.name, [each.name for each in task.inputs]) for task in client.created] == [
        ("a.bin", ["a.bin"]),
        ("b.bin", ["b.bin"]),
    ]
    assert all(isinstance(each, DropSubmitted) for each in watch.told)


def test_a_sub_folder_is_one_package_in_the_order_of_names(client: FakeClient, folder: Path, watch: Watch) -> None:
    release = folder / "release 7"
    (release / "metadata").mkdir(parents=True)
    for name in ("b.bin", "a.bin", "c.json"):
        (release / name).write_bytes(name.encode())
    (release / "metadata" / "notes.txt").write_bytes(b"notes")
    (release / ".DS_Store").write_bytes(b"rubbish")
    watch.settle()
    (task,) = client.created
    assert task.name == "release 7"
    assert [each.name for each in task.inputs] == ["a.bin", "b.bin", "c.json"]
    assert [each.name for each in task.metadata] == ["notes.txt"]


@pytest.mark.parametrize("name", [".hidden", "x.part", "x.tmp", "x.bin~", "X.CRDOWNLOAD"])
def test_hidden_and_temporary_files_are_left_alone(client: FakeClient, folder: Path, watch: Watch, name: str) -> None:
    (folder / name).write_bytes(b"x")
    watch.settle()
    assert (client.created, watch.told) == ([], [])
    assert watch.look() is None


def test_links_and_pipes_are_left_alone(client: FakeClient, folder: Path, watch: Watch) -> None:
    target = folder.parent / "elsewhere.bin"
    target.write_bytes(b"x")
    (folder / "link.bin").symlink_to(target)
    os.mkfifo(folder / "pipe")
    watch.settle()
    assert (client.created, watch.told) == ([], [])


def test_an_empty_file_waits_for_its_content(client: FakeClient, folder: Path, watch: Watch) -> None:
    (folder / "a.bin").touch()
    watch.settle()
    assert client.created == []
    (folder / "a.bin").write_bytes(b"now")
    watch.settle()
    assert len(client.created) == 1


@pytest.mark.parametrize("unready", ["next.bin.part", "empty.bin"])
def test_a_sub_folder_that_is_still_growing_waits(client: FakeClient, folder: Path, watch: Watch, unready: str) -> None:
    release = folder / "release"
    release.mkdir()
    (release / "a.bin").write_bytes(b"a")
    (release / unready).write_bytes(b"half" if unready.endswith(".part") else b"")
    watch.settle()
    assert client.created == []
    (release / unready).write_bytes(b"whole")
    (release / unready).rename(release / "next.bin")
    watch.settle()
    assert [each.name for each in client.created[0].inputs] == ["a.bin", "next.bin"]


def test_an_empty_sub_folder_waits(client: FakeClient, folder: Path, watch: Watch) -> None:
    (folder / "release").mkdir()
    watch.settle()
    assert (client.created, watch.told) == ([], [])


@pytest.mark.parametrize("kind", ["folder", "symbolic link"])
def test_what_cannot_be_packed_from_a_sub_folder_is_said_rather_than_left_out(
    client: FakeClient, folder: Path, watch: Watch, kind: str
) -> None:
    release = folder / "release"
    release.mkdir()
    (release / "a.bin").write_bytes(b"a")
    odd = release / "odd"
    odd.mkdir() if kind == "folder" else odd.symlink_to(release / "a.bin")
    watch.settle()
    (refused,) = watch.told
    assert isinstance(refused, DropRejected)
    assert f"contains odd, which is a {kind}" in refused.error.message
    assert client.created == []


def test_a_name_that_is_no_unicode_is_refused_in_words_that_can_be_shown(folder: Path, watch: Watch) -> None:
    (folder / os.fsdecode(b"\xff.bin")).write_bytes(b"x")
    watch.settle()
    (refused,) = watch.told
    assert isinstance(refused, DropRejected)
    assert refused.name == "\\udcff.bin"


# ---- when


def test_a_half_written_file_is_waited_for(client: FakeClient, folder: Path, watch: Watch, clock: FakeClock) -> None:
    file = folder / "a.bin"
    for length in range(1, 5):
        file.write_bytes(b"x" * length)
        assert watch.look() == SETTLE
        clock.advance(SETTLE - 0.5)
        assert watch.look() == 0.5
        assert client.created == []
    clock.advance(SETTLE)
    assert watch.look() is None
    assert client.created[0].inputs[0].size == 4


def test_a_file_that_changes_while_it_is_handed_in_is_waited_for_again(
    client: FakeClient, folder: Path, watch: Watch
) -> None:
    file = folder / "a.bin"
    file.write_bytes(b"half")

    def append(_: Path) -> None:
        file.write_bytes(b"half and whole")
        client.on_upload = lambda _: None

    client.on_upload = append
    watch.settle()
    assert (client.created, watch.told) == ([], [])
    assert [each.size for each in client.given_back] == [4]
    watch.settle()
    assert [each.size for each in client.created[0].inputs] == [14]


def test_a_file_that_vanishes_again_is_forgotten(client: FakeClient, folder: Path, watch: Watch) -> None:
    (folder / "a.bin").write_bytes(b"x")
    assert watch.look() == SETTLE
    (folder / "a.bin").unlink()
    assert watch.look() is None
    assert watch.told == []


@pytest.mark.parametrize("inside", ["", "metadata"])
def test_a_folder_that_cannot_be_read_is_told_once_and_the_rest_becomes_packages(
    client: FakeClient, folder: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    (folder / "closed" / inside).mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"x")
    close(folder / "closed" / inside, monkeypatch)
    watch.settle()
    watch.settle()
    (refused,) = (each for each in watch.told if isinstance(each, DropRejected))
    assert refused.name == "closed"
    assert "Cannot read it (Permission denied)" in refused.error.message
    assert [task.name for task in client.created] == ["a.bin"]


def test_a_folder_that_is_opened_becomes_a_package(
    client: FakeClient, folder: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "closed").mkdir()
    (folder / "closed" / "a.bin").write_bytes(b"x")
    with monkeypatch.context() as closing:
        close(folder / "closed", closing)
        watch.settle()
    watch.settle()
    assert [task.name for task in client.created] == ["closed"]


# ---- once


def test_a_restart_does_not_submit_again(client: FakeClient, folder: Path, watch: Watch, begin: Begin) -> None:
    (folder / "a.bin").write_bytes(b"x")
    watch.settle()
    watch.settle()
    later = begin(DropAction.SUBMIT)
    later.settle()
    assert (len(client.created), later.told) == (1, [])


def test_a_file_that_was_only_touched_is_not_submitted_again(
    client: FakeClient, folder: Path, watch: Watch, begin: Begin
) -> None:
    (folder / "a.bin").write_bytes(b"x")
    watch.settle()
    os.utime(folder / "a.bin", (1, 1))
    watch.settle()
    begin(DropAction.PROPOSE).settle()
    assert (len(client.created), len(watch.told)) == (1, 1)


def test_new_content_under_the_same_name_is_a_new_package(client: FakeClient, folder: Path, watch: Watch) -> None:
    (folder / "a.bin").write_bytes(b"one")
    watch.settle()
    (folder / "a.bin").write_bytes(b"another")
    watch.settle()
    assert [task.inputs[0].size for task in client.created] == [3, 7]


def test_a_crash_between_submitting_and_remembering_makes_one_task(
    client: FakeClient, folder: Path, watch: Watch, begin: Begin
) -> None:
    (folder / "a.bin").write_bytes(b"x")
    client.crash_after_create = True
    with pytest.raises(KeyboardInterrupt):
        watch.settle()
    client.crash_after_create = False
    later = begin(DropAction.SUBMIT)
    later.settle()
    (told,) = later.told
    assert isinstance(told, DropSubmitted)
    assert [task.id for task in client.created] == [told.task.id]


def test_a_damaged_memory_is_set_aside_and_makes_no_second_task(
    client: FakeClient, folder: Path, watch: Watch, begin: Begin
) -> None:
    (folder / "a.bin").write_bytes(b"x")
    watch.settle()
    (folder.parent / "watch.json").write_bytes(b"{")
    later = begin(DropAction.SUBMIT)
    assert "damaged" in later.folder.warning
    later.settle()
    assert len(client.created) == 1


def test_a_refused_file_is_reported_once_until_it_changes(client: FakeClient, folder: Path, watch: Watch) -> None:
    (folder / "a.bin").write_bytes(b"x")
    client.create_error = FormatLimitError("Too large for se-1.", "Use se-2.")
    watch.settle()
    watch.settle()
    (refused,) = watch.told
    assert isinstance(refused, DropRejected)
    assert (refused.name, refused.error.code) == ("a.bin", "format-limit")
    assert len(client.given_back) == 1
    client.create_error = None
    (folder / "a.bin").write_bytes(b"other")
    watch.settle()
    assert len(client.created) == 1


def test_trouble_that_may_pass_is_said_and_tried_again_ever_later(
    client: FakeClient, folder: Path, watch: Watch, clock: FakeClock
) -> None:
    (folder / "a.bin").write_bytes(b"x")
    client.upload_error = StorageError("The disk is full.")
    watch.settle()
    pauses: list[float] = []
    for _ in range(8):
        pause = watch.look()
        assert pause is not None
        pauses.append(pause)
        clock.advance(pause)
        watch.look()
    assert pauses == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    assert all(isinstance(each, DropDeferred) for each in watch.told)
    client.upload_error = None
    clock.advance(300)
    watch.look()
    assert len(client.created) == 1


# ---- offers


def test_an_offer_is_made_once_and_becomes_a_task_when_it_is_taken(
    client: FakeClient, folder: Path, begin: Begin
) -> None:
    (folder / "a.bin").write_bytes(b"x")
    watch = begin(DropAction.PROPOSE)
    watch.settle()
    watch.settle()
    (offer,) = watch.told
    assert isinstance(offer, PackageProposal)
    assert (offer.name, offer.firmware) == ("a.bin", (str(folder / "a.bin"),))
    assert client.created == []
    first = asyncio.run(watch.folder.submit(offer))
    assert asyncio.run(watch.folder.submit(offer)) == first
    assert len(client.created) == 1
    later = begin(DropAction.PROPOSE)
    later.settle()
    assert later.told == []


def test_an_offer_nobody_answered_is_made_again_by_the_next_start(folder: Path, begin: Begin) -> None:
    (folder / "a.bin").write_bytes(b"x")
    for _ in range(2):
        watch = begin(DropAction.PROPOSE)
        watch.settle()
        assert len(watch.told) == 1


def test_a_dismissed_offer_is_not_made_again_until_the_file_changes(folder: Path, begin: Begin) -> None:
    (folder / "a.bin").write_bytes(b"x")
    watch = begin(DropAction.PROPOSE)
    watch.settle()
    asyncio.run(watch.folder.dismiss(watch.offer()))
    later = begin(DropAction.PROPOSE)
    later.settle()
    assert later.told == []
    (folder / "a.bin").write_bytes(b"other")
    later.settle()
    assert len(later.told) == 1


def test_an_offer_of_files_that_changed_since_is_not_submitted(client: FakeClient, folder: Path, begin: Begin) -> None:
    (folder / "a.bin").write_bytes(b"x")
    watch = begin(DropAction.PROPOSE)
    watch.settle()
    (folder / "a.bin").write_bytes(b"changed")
    with pytest.raises(InvalidInputError, match="changed since"):
        asyncio.run(watch.folder.submit(watch.offer()))
    assert client.created == []
    assert len(client.given_back) == 1


# ---- by itself


@pytest.mark.parametrize("polling", [False, True])
def test_a_file_dropped_while_it_runs_becomes_a_package(client: FakeClient, folder: Path, polling: bool) -> None:
    async def run() -> None:
        told: asyncio.Queue[WatchEvent] = asyncio.Queue()

        async def submitted() -> PackageProposal:
            event = await told.get()
            assert isinstance(event, DropSubmitted)
            return event.proposal

        watch = FolderWatcher(
            client.as_client,
            folder,
            "door",
            told.put_nowait,
            state=folder.parent / "watch.json",
            rule=DropAction.SUBMIT,
            settle=0.05,
            force_polling=polling,
        )
        (folder / "before.bin").write_bytes(b"x")
        before = asyncio.all_tasks()
        running = asyncio.create_task(watch.run())
        assert (await submitted()).name == "before.bin"
        (folder / "release").mkdir()
        (folder / "release" / "inside.bin").write_bytes(b"y")
        assert (await submitted()).firmware == (str(folder / "release" / "inside.bin"),)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert asyncio.all_tasks() == before

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "closed"), ExceptionGroup("wrapped", [RuntimeError("closed")])]
)
def test_where_a_closed_folder_keeps_the_system_from_telling_what_is_dropped_is_seen_all_the_same(
    client: FakeClient, folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    (folder / "release" / "closed").mkdir(parents=True)
    close(folder / "release" / "closed", monkeypatch)

    async def awatch(*_: object, **__: object) -> AsyncIterator[None]:
        yield None
        raise error

    monkeypatch.setattr(watchfiles, "awatch", awatch)

    async def run() -> None:
        watch = Watch(client, folder, clock, DropAction.SUBMIT)
        running = asyncio.create_task(watch.folder.run())
        while not watch.told:
            await asyncio.sleep(0)
        (folder / "a.bin").write_bytes(b"x")
        while not client.created:
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(run(), 60))
    assert [task.name for task in client.created] == ["a.bin"]


def test_a_system_that_does_not_tell_of_changes_for_another_reason_is_said(
    folder: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def awatch(*_: object, **__: object) -> AsyncIterator[None]:
        yield None
        raise ExceptionGroup("wrapped", [OSError(errno.ENOSPC, "no watches left")])

    monkeypatch.setattr(watchfiles, "awatch", awatch)
    with pytest.raises(InvalidInputError, match="no watches left"):
        asyncio.run(asyncio.wait_for(watch.folder.run(), 60))


def test_a_folder_that_is_not_there_is_said(client: FakeClient, folder: Path, watch: Watch) -> None:
    folder.rmdir()
    with pytest.raises(InvalidInputError, match="watch folder"):
        asyncio.run(watch.folder.run())


def test_a_folder_that_goes_away_ends_the_watch(client: FakeClient, folder: Path) -> None:
    async def run() -> None:
        told: asyncio.Queue[WatchEvent] = asyncio.Queue()
        watch = FolderWatcher(
            client.as_client, folder, "door", told.put_nowait, state=folder.parent / "watch.json", settle=0.05
        )
        (folder / "a.bin").write_bytes(b"x")
        running = asyncio.create_task(watch.run())
        await told.get()
        (folder / "a.bin").unlink()
        folder.rmdir()
        with pytest.raises(InvalidInputError):
            await running

    asyncio.run(asyncio.wait_for(run(), 60))


def test_an_unknown_device_configuration_is_said_at_once(client: FakeClient, folder: Path, clock: FakeClock) -> None:
    watch = FolderWatcher(
        client.as_client, folder, "window", lambda _: None, state=folder.parent / "watch.json", clock=clock
    )
    with pytest.raises(NotFoundError):
        asyncio.run(watch.run())


def test_a_folder_whose_name_is_no_unicode_is_refused(client: FakeClient, folder: Path) -> None:
    with pytest.raises(UsageError):
        FolderWatcher(
            client.as_client, folder / os.fsdecode(b"\xff"), "door", lambda _: None, state=folder / "watch.json"
        )


# ---- results


@pytest.mark.parametrize("downloads", [".", "below", "linked"])
def test_the_folder_that_results_arrive_in_is_not_watched(folder: Path, client: FakeClient, downloads: str) -> None:
    (folder.parent / "linked").symlink_to(folder)
    place = folder.parent / "linked" if downloads == "linked" else folder / downloads
    with pytest.raises(UsageError):
        FolderWatcher(
            client.as_client, folder, "door", lambda _: None, state=folder.parent / "watch.json", downloads=place
        )


def test_a_result_that_was_downloaded_is_not_packed_again_wherever_it_lies(
    client: FakeClient, folder: Path, clock: FakeClock
) -> None:
    state = DownloadHistory(folder.parent / "downloads.json")
    container = b"a container that came down"
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
    (folder / "as long.bin").write_bytes(container[::-1])
    told: list[WatchEvent] = []
    watch = FolderWatcher(
        client.as_client,
        folder,
        "door",
        told.append,
        state=folder.parent / "watch.json",
        downloads=folder.parent / "results",
        downloaded=DownloadHistory(folder.parent / "downloads.json"),
        clock=clock,
    )
    asyncio.run(watch.scan_once())
    clock.advance(SETTLE)
    assert asyncio.run(watch.scan_once()) is None
    assert [isinstance(each, PackageProposal) and each.name for each in told] == ["as long.bin"]
