"""Downloads: whole, checked, once, and taken up again after every kind of interruption."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from sealyard.client.downloads.downloader import (
    Downloader,
    DownloadEvent,
    DownloadResult,
    DownloadsInterrupted,
    VerifiedBy,
)
from sealyard.client.downloads.history import DownloadHistory, default_history_path
from sealyard.client.downloads.retry_loop import RECONNECT_DELAYS, RETRY_DELAYS
from sealyard.containers.format import PackageLayout
from sealyard.containers.se1.format import SE1Format
from sealyard.crypto.certificates import create_self_signed
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.signatures import sign
from sealyard.fs import atomic
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.errors import (
    ConflictError,
    ContainerError,
    DownloadError,
    ResultExpiredError,
    ResultGoneError,
    SealyardError,
    StorageError,
    UsageError,
)
from sealyard.model.events import Event, EventsMissed
from sealyard.model.hints import Hint, HintCode
from sealyard.model.tasks import ResultState, TaskKind, TaskStatus
from tests.support.fake_client import CHUNK, ME, OTHER, START, FakeClient, FakeClock, Stream, finished_task

DATA = bytes(range(256)) * 40
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "down"


@pytest.fixture
def downloads(client: FakeClient, folder: Path, tmp_path: Path, clock: FakeClock) -> Downloader:
    return Downloader(client.as_client, folder, DownloadHistory(tmp_path / "state.json"), clock=clock)


def signed_container(key: ed25519.Ed25519PrivateKey) -> bytes:
    shape = PackageLayout(
        encryption=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD,
        signing=SigningAlgorithm.ED25519,
        signing_key_kind=KeyType.ED25519,
        firmware=(("fw.bin", 5),),
        metadata=(),
    )
    packing, target = SE1Format(lambda: NOW), io.BytesIO()
    cipher = AesCipher(shape.encryption, b"k" * 32)
    segment = packing.encrypt_segment(shape, 0, io.BytesIO(b"12345"), target, cipher, lambda _: None)
    header = packing.header(shape, [segment], [])
    packing.write_signature(shape, target, header, sign(key, shape.signing, header, prehashed=False))
    return target.getvalue()


def tidy_away(folder: Path) -> bool:
    """Whether there was a part of a package to be tidied away."""
    parts = list(folder.glob("package.se1.*.part"))
    for part in parts:
        part.unlink()
    return bool(parts)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- one


def test_a_result_lies_in_the_folder_for_its_owner_alone_and_the_engine_is_told(
    client: FakeClient, downloads: Downloader, folder: Path
) -> None:
    task = client.add(DATA)
    found = asyncio.run(downloads.download(task.id))
    assert Path(found.path).read_bytes() == DATA
    assert (found.task_id, found.size, found.sha256) == (task.id, len(DATA), hashlib.sha256(DATA).hexdigest())
    assert (found.checked, found.at) == (VerifiedBy.DIGEST, START)
    assert names(folder) == ["firmware.enc"]
    assert Path(found.path).stat().st_mode & 0o777 == 0o600
    assert client.confirmed == [task.id]


def test_progress_ends_with_the_whole_size(client: FakeClient, downloads: Downloader) -> None:
    told: list[tuple[int, int]] = []
    task = client.add(DATA)
    asyncio.run(downloads.download(task.id, progress=lambda now, total: told.append((now, total))))
    assert told[-1] == (len(DATA), len(DATA))
    assert told == sorted(set(told))


def test_a_container_is_checked_by_its_signature(client: FakeClient, downloads: Downloader) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    client.pem = create_self_signed(key, "own", NOW).decode()
    task = client.add(signed_container(key), name="package.se1", kind=TaskKind.PACKAGING)
    assert asyncio.run(downloads.download(task.id)).checked is VerifiedBy.SIGNATURE


def test_a_container_signed_with_another_key_is_removed(
    client: FakeClient, downloads: Downloader, folder: Path
) -> None:
    data = signed_container(ed25519.Ed25519PrivateKey.generate())
    client.pem = create_self_signed(ed25519.Ed25519PrivateKey.generate(), "own", NOW).decode()
    task = client.add(data, name="package.se1", kind=TaskKind.PACKAGING)
    with pytest.raises(ContainerError):
        asyncio.run(downloads.download(task.id))
    assert names(folder) == []
    assert client.confirmed == []


def test_a_container_that_is_tidied_away_while_it_comes_is_an_error_of_the_folder(
    client: FakeClient, downloads: Downloader, folder: Path
) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    client.pem = create_self_signed(key, "own", NOW).decode()
    task = client.add(signed_container(key), name="package.se1", kind=TaskKind.PACKAGING)
    client.on_chunk = lambda: tidy_away(folder)
    with pytest.raises(StorageError, match="down"):
        asyncio.run(downloads.download(task.id))
    assert client.confirmed == []


def test_a_broken_transfer_goes_on_where_it_ended(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    task = client.add(DATA)
    client.break_after = 3 * CHUNK
    with pytest.raises(SealyardError, match="connection broke"):
        asyncio.run(downloads.download(task.id))
    part = folder / f"firmware.enc.{task.id}.part"
    assert names(folder) == [part.name]
    assert part.read_bytes() == DATA[: 3 * CHUNK]
    assert part.stat().st_mode & 0o777 == 0o600
    client.break_after = None
    found = asyncio.run(downloads.download(task.id))
    assert client.offsets == [(task.id, 0), (task.id, 3 * CHUNK)]
    assert Path(found.path).read_bytes() == DATA
    assert names(folder) == ["firmware.enc"]


def test_a_transfer_that_ends_early_is_said_and_kept(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    task = client.add(DATA)
    client.bytes[task.id] = DATA[:1500]
    with pytest.raises(DownloadError, match="stopped after 1,500 of"):
        asyncio.run(downloads.download(task.id))
    client.bytes[task.id] = DATA
    asyncio.run(downloads.download(task.id))
    assert client.offsets[-1] == (task.id, 1500)


def test_a_wrong_digest_is_said_and_nothing_is_left(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    task = client.add(DATA)
    client.bytes[task.id] = b"x" + DATA[1:]
    with pytest.raises(DownloadError, match="SHA-256"):
        asyncio.run(downloads.download(task.id))
    assert names(folder) == []
    assert client.confirmed == []


def test_a_damaged_part_is_found_out_and_the_next_try_begins_anew(
    client: FakeClient, downloads: Downloader, folder: Path
) -> None:
    task = client.add(DATA)
    folder.mkdir()
    (folder / f"firmware.enc.{task.id}.part").write_bytes(b"zeros of a power cut")
    with pytest.raises(DownloadError):
        asyncio.run(downloads.download(task.id))
    assert Path(asyncio.run(downloads.download(task.id)).path).read_bytes() == DATA


def test_an_engine_that_sends_more_than_it_said_does_not_fill_the_disk(
    client: FakeClient, downloads: Downloader, folder: Path
) -> None:
    task = client.add(DATA)
    client.bytes[task.id] = DATA * 100
    sent: list[None] = []
    client.on_chunk = lambda: sent.append(None)
    with pytest.raises(DownloadError):
        asyncio.run(downloads.download(task.id))
    assert len(sent) <= len(DATA) // CHUNK + 1
    assert names(folder) == []


def test_a_part_longer_than_the_result_is_begun_anew(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    task = client.add(DATA)
    folder.mkdir()
    (folder / f"firmware.enc.{task.id}.part").write_bytes(DATA + b"more")
    asyncio.run(downloads.download(task.id))
    assert client.offsets == [(task.id, 0)]


def test_another_file_of_that_name_is_never_overwritten(
    client: FakeClient, downloads: Downloader, folder: Path
) -> None:
    folder.mkdir()
    (folder / "firmware.enc").write_bytes(b"precious")
    (folder / "firmware (2).enc").symlink_to("nowhere")
    found = asyncio.run(downloads.download(client.add(DATA).id))
    assert Path(found.path).name == "firmware (3).enc"
    assert (folder / "firmware.enc").read_bytes() == b"precious"


def test_a_file_that_comes_up_in_the_last_moment_is_never_overwritten(
    client: FakeClient, downloads: Downloader, folder: Path
) -> None:
    client.on_chunk = lambda: (folder / "firmware.enc").write_bytes(b"precious")
    found = asyncio.run(downloads.download(client.add(DATA).id))
    assert Path(found.path).name == "firmware (2).enc"
    assert (folder / "firmware.enc").read_bytes() == b"precious"


def test_without_hard_links_nothing_is_overwritten_either(
    client: FakeClient, downloads: Downloader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    folder.mkdir()
    (folder / "firmware.enc").write_bytes(b"precious")
    found = asyncio.run(downloads.download(client.add(DATA).id))
    assert names(folder) == ["firmware (2).enc", "firmware.enc"]
    assert Path(found.path).read_bytes() == DATA


def test_the_same_content_under_that_name_is_taken_as_done(
    client: FakeClient, downloads: Downloader, folder: Path
) -> None:
    task = client.add(DATA)
    folder.mkdir()
    (folder / "firmware.enc").write_bytes(DATA)
    assert asyncio.run(downloads.download(task.id)).path == str(folder / "firmware.enc")
    assert (client.offsets, client.confirmed, names(folder)) == ([], [task.id], ["firmware.enc"])


def test_a_second_fetch_transfers_and_tells_nothing_unless_asked(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA)
    first = asyncio.run(downloads.download(task.id))
    assert asyncio.run(downloads.download(task.id)) == first
    assert (len(client.offsets), len(client.confirmed)) == (1, 1)
    assert asyncio.run(downloads.download(task.id, force=True)).path == first.path
    assert (len(client.offsets), len(client.confirmed)) == (2, 2)


def test_download_reads_the_history_off_the_event_loop(
    client: FakeClient, downloads: Downloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = client.add(DATA)
    asyncio.run(downloads.download(task.id))
    refresh, readers = DownloadHistory.refresh, []

    def record_thread(history: DownloadHistory) -> None:
        readers.append(threading.get_ident())
        refresh(history)

    monkeypatch.setattr(DownloadHistory, "refresh", record_thread)
    asyncio.run(downloads.download(task.id))
    assert readers
    assert threading.get_ident() not in readers


def test_a_downloaded_file_that_was_changed_comes_again_beside_it(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA)
    first = Path(asyncio.run(downloads.download(task.id)).path)
    first.write_bytes(b"changed")
    assert Path(asyncio.run(downloads.download(task.id)).path).name == "firmware (2).enc"
    assert first.read_bytes() == b"changed"


def test_an_expired_link_is_said_with_what_to_do_and_leaves_nothing(
    client: FakeClient, downloads: Downloader, folder: Path
) -> None:
    task = client.add(DATA)
    client.expire(task.id)
    with pytest.raises(ResultExpiredError) as caught:
        asyncio.run(downloads.download(task.id))
    assert caught.value.structured_hint == Hint.of(HintCode.RENEW_LINK, task_id=task.id)
    assert names(folder) == []


def test_a_removed_artifact_is_said(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA)
    client.set_result(task.id, state=ResultState.GONE)
    with pytest.raises(ResultGoneError):
        asyncio.run(downloads.download(task.id))


def test_what_has_no_file_is_said(client: FakeClient, downloads: Downloader) -> None:
    with pytest.raises(ConflictError, match="RUNNING"):
        asyncio.run(downloads.download(client.add(DATA, status=TaskStatus.RUNNING).id))
    with pytest.raises(ConflictError, match="Signing tasks have no file"):
        asyncio.run(downloads.download(client.add(DATA, kind=TaskKind.SIGNING).id))


def test_a_hostile_file_name_stays_in_the_folder(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    found = asyncio.run(downloads.download(client.add(DATA, name="../../.bashrc\x1b[2J").id))
    assert Path(found.path).parent == folder
    assert names(folder) == ["_.._.bashrc_[2J"]


def test_a_link_in_place_of_the_part_is_not_followed(
    client: FakeClient, downloads: Downloader, folder: Path, tmp_path: Path
) -> None:
    task = client.add(DATA)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    folder.mkdir()
    (folder / f"firmware.enc.{task.id}.part").symlink_to(victim)
    with pytest.raises(StorageError):
        asyncio.run(downloads.download(task.id))
    assert victim.read_bytes() == b"precious"


def test_a_full_disk_is_said_and_what_came_is_kept(
    client: FakeClient, downloads: Downloader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = client.add(DATA)
    whole = atomic.write_all

    def full(fd: int, data: bytes) -> None:
        whole(fd, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "write_all", full)
    with pytest.raises(StorageError, match="Not enough disk space"):
        asyncio.run(downloads.download(task.id))
    monkeypatch.undo()
    assert Path(asyncio.run(downloads.download(task.id)).path).read_bytes() == DATA
    assert client.offsets[-1] == (task.id, 10)


def test_a_folder_that_cannot_be_made_is_said(client: FakeClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    downloads = Downloader(client.as_client, tmp_path / "file" / "down", DownloadHistory(tmp_path / "state.json"))
    with pytest.raises(StorageError, match="Cannot write"):
        asyncio.run(downloads.download(client.add(DATA).id))


def test_a_folder_whose_name_is_no_unicode_is_refused(client: FakeClient, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        Downloader(client.as_client, tmp_path / os.fsdecode(b"\xff"), DownloadHistory(tmp_path / "state.json"))


# ---- side by side


def test_two_fetches_of_one_task_share_one_transfer(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA)
    ends: list[int] = []

    async def both() -> None:
        first, second = await asyncio.gather(
            downloads.download(task.id, progress=lambda now, _: ends.append(now)),
            downloads.download(task.id[:8], progress=lambda now, _: ends.append(now)),
        )
        assert first == second

    asyncio.run(both())
    assert (len(client.offsets), client.confirmed) == (1, [task.id])
    assert ends.count(len(DATA)) == 2


def test_one_of_two_may_leave_without_ending_the_transfer(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA)

    async def both() -> None:
        reached = asyncio.Event()
        client.on_chunk = reached.set
        first = asyncio.create_task(downloads.download(task.id))
        second = asyncio.create_task(downloads.download(task.id))
        await reached.wait()
        first.cancel()
        assert Path((await second).path).read_bytes() == DATA
        assert first.cancelled()

    asyncio.run(both())
    assert len(client.offsets) == 1


def test_a_cancelled_fetch_lets_go_of_the_part_and_the_next_takes_it_up(
    client: FakeClient, downloads: Downloader, clock: FakeClock
) -> None:
    task = client.add(DATA)

    async def cancelled() -> None:
        chunks = 0

        def count() -> None:
            nonlocal chunks
            chunks += 1
            if chunks == 4:
                fetching.cancel()

        client.on_chunk = count
        fetching = asyncio.create_task(downloads.download(task.id))
        with pytest.raises(asyncio.CancelledError):
            await fetching
        client.on_chunk = lambda: None
        assert Path((await downloads.download(task.id)).path).read_bytes() == DATA

    asyncio.run(cancelled())
    assert client.offsets[1][1] > 0
    assert clock.slept == []


def test_another_process_that_holds_the_part_is_waited_for(
    client: FakeClient, downloads: Downloader, folder: Path, tmp_path: Path, clock: FakeClock
) -> None:
    task = client.add(DATA)
    folder.mkdir()
    part = folder / f"firmware.enc.{task.id}.part"
    program = f"""
import fcntl, os, sys
fd = os.open({str(part)!r}, os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
os.write(fd, {DATA!r})
os.link({str(part)!r}, {str(folder / "firmware.enc")!r})
os.unlink({str(part)!r})
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        stdin = other.stdin
        assert stdin
        assert other.stdout
        assert other.stdout.readline() == "held\n"

        async def wait_for_it() -> None:
            fetching = asyncio.create_task(downloads.download(task.id))
            while len(clock.slept) < 3:
                await asyncio.sleep(0)
            assert not fetching.done()
            stdin.write("\n")
            stdin.flush()
            assert Path((await fetching).path) == folder / "firmware.enc"

        asyncio.run(wait_for_it())
    assert client.offsets == []
    assert names(folder) == ["firmware.enc"]


# ---- all


def test_pending_are_my_done_files_oldest_first_over_all_pages(client: FakeClient, downloads: Downloader) -> None:
    mine = [client.add(DATA, name=f"{number}.bin").id for number in range(5)]
    client.add(DATA, by=OTHER)
    client.add(DATA, kind=TaskKind.SIGNING)
    client.add(DATA, status=TaskStatus.RUNNING)
    assert [task.id for task in asyncio.run(downloads.pending_tasks())] == mine


def test_what_was_fetched_is_not_pending_for_a_later_start(
    client: FakeClient, downloads: Downloader, folder: Path, tmp_path: Path
) -> None:
    client.add(DATA)
    assert len(asyncio.run(downloads.download_pending())) == 1
    later = Downloader(client.as_client, folder, DownloadHistory(tmp_path / "state.json"))
    assert asyncio.run(later.download_pending()) == ()
    assert len(client.offsets) == 1


def test_what_fails_keeps_none_from_the_others_and_is_tried_again(client: FakeClient, downloads: Downloader) -> None:
    bad, good = client.add(DATA, name="a"), client.add(DATA, name="b")
    client.bytes[bad.id] = b"x" * len(DATA)
    outcomes = asyncio.run(downloads.download_pending())
    assert [(each.task_id, each.error and each.error.code) for each in outcomes] == [
        (bad.id, "download"),
        (good.id, None),
    ]
    assert [task.id for task in asyncio.run(downloads.pending_tasks())] == [bad.id]


def test_an_expired_or_gone_one_is_told_once_and_fetched_after_a_renewal(
    client: FakeClient, downloads: Downloader
) -> None:
    old, lost = client.add(DATA, name="old"), client.add(DATA, name="lost")
    client.expire(old.id)
    client.set_result(lost.id, state=ResultState.GONE, link=None)
    pending = asyncio.run(downloads.pending_tasks())
    assert [each.result and each.result.state for each in pending] == [ResultState.EXPIRED, ResultState.GONE]
    outcomes = asyncio.run(downloads.download_pending())
    assert [each.error and each.error.code for each in outcomes] == ["result-expired", "result-gone"]
    assert asyncio.run(downloads.download_pending()) == ()
    client.renew_link(old.id)
    (renewed,) = asyncio.run(downloads.download_pending())
    assert renewed.downloaded is not None


def test_an_expired_one_that_is_gone_later_is_told_once_more(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA)
    client.expire(task.id)
    asyncio.run(downloads.download_pending())
    client.set_result(task.id, state=ResultState.GONE)
    assert [each.error and each.error.code for each in asyncio.run(downloads.download_pending())] == ["result-gone"]
    assert asyncio.run(downloads.download_pending()) == ()


# ---- marks


def test_a_damaged_state_is_set_aside_and_said_and_nothing_comes_twice(
    client: FakeClient, downloads: Downloader, folder: Path, tmp_path: Path
) -> None:
    client.add(DATA)
    asyncio.run(downloads.download_pending())
    state = tmp_path / "state.json"
    state.write_bytes(b'{"downloaded": 7')
    marks = DownloadHistory(state)
    assert "damaged" in marks.warning
    assert (tmp_path / "state.json.damaged").read_bytes() == b'{"downloaded": 7'
    (outcome,) = asyncio.run(Downloader(client.as_client, folder, marks).download_pending())
    assert outcome.downloaded is not None
    assert (len(client.offsets), names(folder)) == (1, ["firmware.enc"])
    assert DownloadHistory(state).warning == ""


def test_two_processes_lose_no_marks_of_each_other(client: FakeClient, folder: Path, tmp_path: Path) -> None:
    one, two = client.add(DATA, name="one"), client.add(DATA, name="two")
    first = Downloader(client.as_client, folder, DownloadHistory(tmp_path / "state.json"))
    second = Downloader(client.as_client, folder, DownloadHistory(tmp_path / "state.json"))
    asyncio.run(first.download(one.id))
    asyncio.run(second.download(two.id))
    assert asyncio.run(first.pending_tasks()) == asyncio.run(second.pending_tasks()) == ()


def test_marks_are_private_and_no_temporary_is_left(client: FakeClient, downloads: Downloader, tmp_path: Path) -> None:
    client.add(DATA)
    asyncio.run(downloads.download_pending())
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    assert [name for name in names(tmp_path) if name.endswith(".tmp")] == []


def test_each_workspace_and_subject_has_its_own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    files = {
        default_history_path("w1", ME),
        default_history_path("w1", OTHER),
        default_history_path("w2", ME),
        default_history_path("../..", ME),
    }
    assert len(files) == 4
    assert {path.parent for path in files} == {tmp_path / "sealyard" / "downloads"}


# ---- by itself


def run_for(downloads: Downloader, client: FakeClient, *streams: Stream) -> list[DownloadResult | DownloadsInterrupted]:
    """Runs until the last stream was heard and all attempts have come to an end."""
    seen: list[DownloadEvent] = []
    client.streams = list(streams)

    async def run() -> None:
        running = asyncio.create_task(downloads.run(seen.append))
        await client.waiting.wait()
        while any("_until_settled" in repr(each.get_coro()) for each in asyncio.all_tasks()):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(run(), 30))
    return [each for each in seen if isinstance(each, DownloadResult | DownloadsInterrupted)]


def outcomes_of(downloads: Downloader, client: FakeClient, *streams: Stream) -> list[DownloadResult]:
    """As :func:`run_for`, where no connection breaks."""
    told = run_for(downloads, client, *streams)
    outcomes = [each for each in told if isinstance(each, DownloadResult)]
    assert outcomes == told
    return outcomes


def test_a_task_that_finished_while_nothing_ran_comes_down_at_the_start(
    client: FakeClient, downloads: Downloader
) -> None:
    task = client.add(DATA)
    (outcome,) = outcomes_of(downloads, client)
    assert (outcome.task_id, outcome.error) == (task.id, None)
    assert client.cursors == [0]


def test_a_task_that_becomes_done_comes_down_once(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA, status=TaskStatus.RUNNING)
    theirs = client.add(DATA, by=OTHER)

    class Finishing(Stream):
        """The task is DONE when its event comes, not before."""

        def __iter__(self) -> Iterator[Event | Exception]:
            client.add(DATA, task_id=task.id)
            return super().__iter__()

    (outcome,) = outcomes_of(
        downloads,
        client,
        Finishing([finished_task(task, 5), finished_task(theirs, 6), finished_task(task, 7), EventsMissed(cursor=8)]),
    )
    assert outcome.task_id == task.id
    assert client.confirmed == [task.id]


def test_a_gap_is_made_up_for(client: FakeClient, downloads: Downloader) -> None:
    class Missing(Stream):
        def __iter__(self) -> Iterator[Event | Exception]:
            client.add(DATA)
            return super().__iter__()

    (outcome,) = outcomes_of(downloads, client, Missing([EventsMissed(cursor=9)]))
    assert outcome.downloaded is not None


def test_a_broken_connection_is_made_again_from_the_cursor_ever_more_slowly(
    client: FakeClient, downloads: Downloader, clock: FakeClock
) -> None:
    theirs = client.add(DATA, by=OTHER)
    broken: Stream = [SealyardError("The connection broke.")]
    told = run_for(downloads, client, [finished_task(theirs, 41), *broken], *[broken] * 8)
    assert [each.retry_in for each in told] == clock.slept
    assert tuple(clock.slept[:6]) == RECONNECT_DELAYS.seconds
    assert set(clock.slept[6:]) == {RECONNECT_DELAYS.seconds[-1]}
    assert client.cursors == [0] + [41] * 9


def test_a_connection_that_held_for_a_while_is_made_again_quickly(
    client: FakeClient, downloads: Downloader, clock: FakeClock
) -> None:
    broken = SealyardError("The connection broke.")
    run_for(downloads, client, [broken], [broken], [EventsMissed(cursor=1), broken])
    assert tuple(clock.slept) == (*RECONNECT_DELAYS.seconds[:2], RECONNECT_DELAYS.seconds[0])


def test_a_failing_download_is_tried_again_ever_later_then_rests(
    client: FakeClient, downloads: Downloader, clock: FakeClock
) -> None:
    task = client.add(DATA)
    client.bytes[task.id] = b"x" * len(DATA)
    outcomes = run_for(downloads, client)
    assert [each.retry_in for each in outcomes] == [*RETRY_DELAYS.seconds, None]
    assert tuple(clock.slept) == RETRY_DELAYS.seconds


def test_a_container_that_is_tidied_away_while_it_comes_begins_anew_and_the_others_come_down(
    client: FakeClient, downloads: Downloader, folder: Path
) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    client.pem = create_self_signed(key, "own", NOW).decode()
    package = client.add(signed_container(key), name="package.se1", kind=TaskKind.PACKAGING)
    other = client.add(DATA, status=TaskStatus.RUNNING)

    def tidy_once() -> None:
        if tidy_away(folder):
            client.on_chunk = lambda: None

    class Finishing(Stream):
        """The other one is DONE after the package was tidied away."""

        def __iter__(self) -> Iterator[Event | Exception]:
            client.add(DATA, task_id=other.id)
            return super().__iter__()

    client.on_chunk = tidy_once
    outcomes = outcomes_of(downloads, client, Finishing([finished_task(other, 1)]))
    assert [each.retry_in for each in outcomes if each.error is not None] == [RETRY_DELAYS.seconds[0]]
    assert {each.task_id for each in outcomes if each.downloaded is not None} == {package.id, other.id}


def test_an_expired_one_is_told_once_and_comes_down_after_its_renewal(
    client: FakeClient, downloads: Downloader
) -> None:
    task = client.add(DATA)
    client.expire(task.id)

    class Renewing(Stream):
        def __iter__(self) -> Iterator[Event | Exception]:
            client.renew_link(task.id)
            return super().__iter__()

    first = run_for(downloads, client, [finished_task(task, 1), EventsMissed(cursor=2)])
    assert [each.error and each.error.code for each in first] == ["result-expired"]
    client.waiting = asyncio.Event()
    (second,) = outcomes_of(downloads, client, Renewing([finished_task(task, 3)]))
    assert second.downloaded is not None


def test_run_ends_when_the_engine_ends_its_events(client: FakeClient, downloads: Downloader) -> None:
    client.streams, client.ending = [[EventsMissed(cursor=1)]], True
    asyncio.run(asyncio.wait_for(downloads.run(lambda _: None), 30))


def test_cancelling_run_in_the_middle_of_a_download_leaves_a_part_to_go_on_with(
    client: FakeClient, downloads: Downloader, folder: Path
) -> None:
    task = client.add(DATA)

    async def cancelled() -> None:
        running = asyncio.create_task(downloads.run(lambda _: None))
        client.on_chunk = running.cancel
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(cancelled(), 30))
    assert [name for name in names(folder) if not name.endswith(".part")] == []
    client.on_chunk = lambda: None
    assert Path(asyncio.run(downloads.download(task.id)).path).read_bytes() == DATA
