"""Test downloads: verification, resumption, concurrency and automatic runs."""

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

import msgspec
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
from tests.support.factories.containers import predictable_random
from tests.support.fake_client import CHUNK, ME, OTHER, START, FakeClient, FakeClock, Stream, finished_task
from tests.support.limits import TIMEOUT

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


def build_signed_container(key: ed25519.Ed25519PrivateKey) -> bytes:
    layout = PackageLayout(
        encryption=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD,
        signing=SigningAlgorithm.ED25519,
        signing_key_kind=KeyType.ED25519,
        firmware=(("fw.bin", 5),),
        metadata=(),
    )
    container_format, target = SE1Format(lambda: NOW), io.BytesIO()
    cipher = AesCipher(layout.encryption, b"k" * 32)
    segment = container_format.encrypt_segment(
        layout, 0, io.BytesIO(b"12345"), target, cipher, predictable_random, lambda _: None
    )
    header = container_format.header(layout, [segment], [])
    container_format.write_signature(layout, target, header, sign(key, layout.signing, header, prehashed=False))
    return target.getvalue()


def remove_parts(folder: Path) -> bool:
    """Remove the partial files of a package. Returns whether there were any."""
    parts = list(folder.glob("package.se1.*.part"))
    for part in parts:
        part.unlink()
    return bool(parts)


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- single download


def test_download_is_private_and_reported(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    task = client.add(DATA)
    downloaded = asyncio.run(downloads.download(task.id))
    assert Path(downloaded.path).read_bytes() == DATA
    assert (downloaded.task_id, downloaded.size, downloaded.sha256) == (
        task.id,
        len(DATA),
        hashlib.sha256(DATA).hexdigest(),
    )
    assert (downloaded.checked, downloaded.at) == (VerifiedBy.DIGEST, START)
    assert list_names(folder) == ["firmware.enc"]
    assert Path(downloaded.path).stat().st_mode & 0o777 == 0o600
    assert client.confirmed == [task.id]


def test_progress_ends_with_total_size(client: FakeClient, downloads: Downloader) -> None:
    reports: list[tuple[int, int]] = []
    task = client.add(DATA)
    asyncio.run(downloads.download(task.id, progress=lambda now, total: reports.append((now, total))))
    assert reports[-1] == (len(DATA), len(DATA))
    assert reports == sorted(set(reports))


def test_container_is_verified_by_signature(client: FakeClient, downloads: Downloader) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    client.pem = create_self_signed(key, "own", NOW).decode()
    task = client.add(build_signed_container(key), name="package.se1", kind=TaskKind.PACKAGING)
    assert asyncio.run(downloads.download(task.id)).checked is VerifiedBy.SIGNATURE


def test_container_with_wrong_signature_is_removed(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    data = build_signed_container(ed25519.Ed25519PrivateKey.generate())
    client.pem = create_self_signed(ed25519.Ed25519PrivateKey.generate(), "own", NOW).decode()
    task = client.add(data, name="package.se1", kind=TaskKind.PACKAGING)
    with pytest.raises(ContainerError):
        asyncio.run(downloads.download(task.id))
    assert list_names(folder) == []
    assert client.confirmed == []


def test_removed_partial_file_raises_storage_error(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    client.pem = create_self_signed(key, "own", NOW).decode()
    task = client.add(build_signed_container(key), name="package.se1", kind=TaskKind.PACKAGING)
    client.on_chunk = lambda: remove_parts(folder)
    with pytest.raises(StorageError, match="down"):
        asyncio.run(downloads.download(task.id))
    assert client.confirmed == []


def test_interrupted_download_resumes(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    task = client.add(DATA)
    client.break_after = 3 * CHUNK
    with pytest.raises(SealyardError, match="connection broke"):
        asyncio.run(downloads.download(task.id))
    part = folder / f"firmware.enc.{task.id}.part"
    assert list_names(folder) == [part.name]
    assert part.read_bytes() == DATA[: 3 * CHUNK]
    assert part.stat().st_mode & 0o777 == 0o600
    client.break_after = None
    downloaded = asyncio.run(downloads.download(task.id))
    assert client.offsets == [(task.id, 0), (task.id, 3 * CHUNK)]
    assert Path(downloaded.path).read_bytes() == DATA
    assert list_names(folder) == ["firmware.enc"]


def test_truncated_download_resumes(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    task = client.add(DATA)
    client.bytes[task.id] = DATA[:1500]
    with pytest.raises(DownloadError, match="stopped after 1,500 of"):
        asyncio.run(downloads.download(task.id))
    client.bytes[task.id] = DATA
    asyncio.run(downloads.download(task.id))
    assert client.offsets[-1] == (task.id, 1500)


def test_digest_mismatch_removes_file(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    task = client.add(DATA)
    client.bytes[task.id] = b"x" + DATA[1:]
    with pytest.raises(DownloadError, match="SHA-256"):
        asyncio.run(downloads.download(task.id))
    assert list_names(folder) == []
    assert client.confirmed == []


def test_damaged_partial_file_restarts_download(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    task = client.add(DATA)
    folder.mkdir()
    (folder / f"firmware.enc.{task.id}.part").write_bytes(b"zeros of a power cut")
    with pytest.raises(DownloadError):
        asyncio.run(downloads.download(task.id))
    assert Path(asyncio.run(downloads.download(task.id)).path).read_bytes() == DATA


def test_oversized_transfer_is_stopped(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    task = client.add(DATA)
    client.bytes[task.id] = DATA * 100
    chunks: list[None] = []
    client.on_chunk = lambda: chunks.append(None)
    with pytest.raises(DownloadError):
        asyncio.run(downloads.download(task.id))
    assert len(chunks) <= len(DATA) // CHUNK + 1
    assert list_names(folder) == []


def test_oversized_partial_file_restarts_download(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    task = client.add(DATA)
    folder.mkdir()
    (folder / f"firmware.enc.{task.id}.part").write_bytes(DATA + b"more")
    asyncio.run(downloads.download(task.id))
    assert client.offsets == [(task.id, 0)]


def test_existing_file_is_never_overwritten(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    folder.mkdir()
    (folder / "firmware.enc").write_bytes(b"precious")
    (folder / "firmware (2).enc").symlink_to("nowhere")
    downloaded = asyncio.run(downloads.download(client.add(DATA).id))
    assert Path(downloaded.path).name == "firmware (3).enc"
    assert (folder / "firmware.enc").read_bytes() == b"precious"


def test_file_created_during_download_is_kept(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    client.on_chunk = lambda: (folder / "firmware.enc").write_bytes(b"precious")
    downloaded = asyncio.run(downloads.download(client.add(DATA).id))
    assert Path(downloaded.path).name == "firmware (2).enc"
    assert (folder / "firmware.enc").read_bytes() == b"precious"


def test_existing_file_is_kept_without_hard_links(
    client: FakeClient, downloads: Downloader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    folder.mkdir()
    (folder / "firmware.enc").write_bytes(b"precious")
    downloaded = asyncio.run(downloads.download(client.add(DATA).id))
    assert list_names(folder) == ["firmware (2).enc", "firmware.enc"]
    assert Path(downloaded.path).read_bytes() == DATA


def test_identical_file_is_not_downloaded_again(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    task = client.add(DATA)
    folder.mkdir()
    (folder / "firmware.enc").write_bytes(DATA)
    downloaded = asyncio.run(downloads.download(task.id))
    assert (downloaded.path, downloaded.was_on_disk) == (str(folder / "firmware.enc"), True)
    assert (client.offsets, client.confirmed, list_names(folder)) == ([], [task.id], ["firmware.enc"])


def test_repeated_download_transfers_only_when_forced(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA)
    first = asyncio.run(downloads.download(task.id))
    assert not first.was_on_disk
    assert asyncio.run(downloads.download(task.id)) == msgspec.structs.replace(first, was_on_disk=True)
    assert (len(client.offsets), len(client.confirmed)) == (1, 1)
    assert asyncio.run(downloads.download(task.id, force=True)).path == first.path
    assert (len(client.offsets), len(client.confirmed)) == (2, 2)


def test_history_is_read_off_event_loop(
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


def test_modified_file_is_kept_and_downloaded_again(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA)
    first = Path(asyncio.run(downloads.download(task.id)).path)
    first.write_bytes(b"changed")
    assert Path(asyncio.run(downloads.download(task.id)).path).name == "firmware (2).enc"
    assert first.read_bytes() == b"changed"


def test_expired_link_error_suggests_renewal(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    task = client.add(DATA)
    client.expire(task.id)
    with pytest.raises(ResultExpiredError) as caught:
        asyncio.run(downloads.download(task.id))
    assert caught.value.structured_hint == Hint.of(HintCode.RENEW_LINK, task_id=task.id)
    assert list_names(folder) == []


def test_file_on_disk_needs_no_valid_link(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA)
    asyncio.run(downloads.download(task.id))
    client.expire(task.id)
    assert asyncio.run(downloads.download(task.id)).was_on_disk


def test_removed_artifact_raises_result_gone(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA)
    client.set_result(task.id, state=ResultState.GONE)
    with pytest.raises(ResultGoneError):
        asyncio.run(downloads.download(task.id))


def test_task_without_file_raises_conflict(client: FakeClient, downloads: Downloader) -> None:
    with pytest.raises(ConflictError, match="RUNNING"):
        asyncio.run(downloads.download(client.add(DATA, status=TaskStatus.RUNNING).id))
    with pytest.raises(ConflictError, match="Signing tasks have no file"):
        asyncio.run(downloads.download(client.add(DATA, kind=TaskKind.SIGNING).id))


def test_hostile_file_name_stays_in_folder(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    downloaded = asyncio.run(downloads.download(client.add(DATA, name="../../.bashrc\x1b[2J").id))
    assert Path(downloaded.path).parent == folder
    assert list_names(folder) == ["_.._.bashrc_[2J"]


def test_symlink_as_partial_file_is_rejected(
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


def test_full_disk_keeps_partial_file(
    client: FakeClient, downloads: Downloader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = client.add(DATA)
    write_all = atomic.write_all

    def write_part(fd: int, data: bytes) -> None:
        write_all(fd, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "write_all", write_part)
    with pytest.raises(StorageError, match="Not enough disk space"):
        asyncio.run(downloads.download(task.id))
    monkeypatch.undo()
    assert Path(asyncio.run(downloads.download(task.id)).path).read_bytes() == DATA
    assert client.offsets[-1] == (task.id, 10)


def test_uncreatable_folder_raises_storage_error(client: FakeClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    downloads = Downloader(client.as_client, tmp_path / "file" / "down", DownloadHistory(tmp_path / "state.json"))
    with pytest.raises(StorageError, match="Cannot write"):
        asyncio.run(downloads.download(client.add(DATA).id))


def test_non_unicode_folder_is_rejected(client: FakeClient, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        Downloader(client.as_client, tmp_path / os.fsdecode(b"\xff"), DownloadHistory(tmp_path / "state.json"))


# ---- concurrent downloads


def test_concurrent_downloads_share_one_transfer(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA)
    sizes: list[int] = []

    async def download_twice() -> None:
        first, second = await asyncio.gather(
            downloads.download(task.id, progress=lambda now, _: sizes.append(now)),
            downloads.download(task.id[:8], progress=lambda now, _: sizes.append(now)),
        )
        assert first == second

    asyncio.run(download_twice())
    assert (len(client.offsets), client.confirmed) == (1, [task.id])
    assert sizes.count(len(DATA)) == 2


def test_cancelled_caller_keeps_shared_transfer(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA)

    async def download_twice() -> None:
        reached = asyncio.Event()
        client.on_chunk = reached.set
        first = asyncio.create_task(downloads.download(task.id))
        second = asyncio.create_task(downloads.download(task.id))
        await reached.wait()
        first.cancel()
        assert Path((await second).path).read_bytes() == DATA
        assert first.cancelled()

    asyncio.run(download_twice())
    assert len(client.offsets) == 1


def test_cancelled_download_releases_partial_file(client: FakeClient, downloads: Downloader, clock: FakeClock) -> None:
    task = client.add(DATA)

    async def cancel_and_resume() -> None:
        chunk_count = 0

        def count() -> None:
            nonlocal chunk_count
            chunk_count += 1
            if chunk_count == 4:
                call.cancel()

        client.on_chunk = count
        call = asyncio.create_task(downloads.download(task.id))
        with pytest.raises(asyncio.CancelledError):
            await call
        client.on_chunk = lambda: None
        assert Path((await downloads.download(task.id)).path).read_bytes() == DATA

    asyncio.run(cancel_and_resume())
    assert client.offsets[1][1] > 0
    assert clock.slept == []


def test_download_waits_for_other_process(
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

        async def wait_for_part() -> None:
            call = asyncio.create_task(downloads.download(task.id))
            while len(clock.slept) < 3:
                await asyncio.sleep(0)
            assert not call.done()
            stdin.write("\n")
            stdin.flush()
            assert Path((await call).path) == folder / "firmware.enc"

        asyncio.run(wait_for_part())
    assert client.offsets == []
    assert list_names(folder) == ["firmware.enc"]


# ---- pending downloads


def test_pending_tasks_are_own_finished_files(client: FakeClient, downloads: Downloader) -> None:
    own = [client.add(DATA, name=f"{number}.bin").id for number in range(5)]
    client.add(DATA, by=OTHER)
    client.add(DATA, kind=TaskKind.SIGNING)
    client.add(DATA, status=TaskStatus.RUNNING)
    assert [task.id for task in asyncio.run(downloads.pending_tasks())] == own


def test_downloaded_task_is_not_pending_after_restart(
    client: FakeClient, downloads: Downloader, folder: Path, tmp_path: Path
) -> None:
    client.add(DATA)
    assert len(asyncio.run(downloads.download_pending())) == 1
    restarted = Downloader(client.as_client, folder, DownloadHistory(tmp_path / "state.json"))
    assert asyncio.run(restarted.download_pending()) == ()
    assert len(client.offsets) == 1


def test_failed_download_does_not_block_others(client: FakeClient, downloads: Downloader) -> None:
    bad, good = client.add(DATA, name="a"), client.add(DATA, name="b")
    client.bytes[bad.id] = b"x" * len(DATA)
    results = asyncio.run(downloads.download_pending())
    assert [(each.task_id, each.error and each.error.code) for each in results] == [
        (bad.id, "download"),
        (good.id, None),
    ]
    assert [task.id for task in asyncio.run(downloads.pending_tasks())] == [bad.id]


def test_expired_result_is_reported_once(client: FakeClient, downloads: Downloader) -> None:
    old, lost = client.add(DATA, name="old"), client.add(DATA, name="lost")
    client.expire(old.id)
    client.set_result(lost.id, state=ResultState.GONE, link=None)
    pending = asyncio.run(downloads.pending_tasks())
    assert [each.result and each.result.state for each in pending] == [ResultState.EXPIRED, ResultState.GONE]
    results = asyncio.run(downloads.download_pending())
    assert [each.error and each.error.code for each in results] == ["result-expired", "result-gone"]
    assert asyncio.run(downloads.download_pending()) == ()
    client.renew_link(old.id)
    (renewed,) = asyncio.run(downloads.download_pending())
    assert renewed.downloaded is not None


def test_removal_after_expiry_is_reported_again(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA)
    client.expire(task.id)
    asyncio.run(downloads.download_pending())
    client.set_result(task.id, state=ResultState.GONE)
    assert [each.error and each.error.code for each in asyncio.run(downloads.download_pending())] == ["result-gone"]
    assert asyncio.run(downloads.download_pending()) == ()


# ---- history


def test_damaged_history_repeats_no_download(
    client: FakeClient, downloads: Downloader, folder: Path, tmp_path: Path
) -> None:
    client.add(DATA)
    asyncio.run(downloads.download_pending())
    state = tmp_path / "state.json"
    state.write_bytes(b'{"downloaded": 7')
    history = DownloadHistory(state)
    assert "damaged" in history.warning
    assert (tmp_path / "state.json.damaged").read_bytes() == b'{"downloaded": 7'
    (result,) = asyncio.run(Downloader(client.as_client, folder, history).download_pending())
    assert result.downloaded is not None
    assert (len(client.offsets), list_names(folder)) == (1, ["firmware.enc"])
    assert DownloadHistory(state).warning == ""


def test_unwritable_history_does_not_fail_downloads(
    client: FakeClient, folder: Path, tmp_path: Path, clock: FakeClock
) -> None:
    state = tmp_path / "state"
    state.touch()
    history = DownloadHistory(state / "history.json")
    downloads = Downloader(client.as_client, folder, history, clock=clock)
    first, lost = client.add(DATA, name="first"), client.add(DATA, name="lost")
    client.expire(lost.id)
    results = {each.task_id: each for each in asyncio.run(downloads.download_pending())}
    downloaded = results[first.id].downloaded
    assert downloaded is not None
    assert "XDG_STATE_HOME" in downloaded.warnings[-1]
    assert [error.code for each in results.values() if (error := each.error)] == ["result-expired"]
    assert asyncio.run(downloads.download_pending()) == ()

    state.unlink()
    second = client.add(DATA, name="second")
    (result,) = asyncio.run(downloads.download_pending())
    assert result.downloaded is not None
    assert result.downloaded.warnings == ()
    reloaded = DownloadHistory(state / "history.json")
    assert all(reloaded.get(task.id) is not None for task in (first, second))


def test_unreadable_history_does_not_fail_downloads(client: FakeClient, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "history.json").mkdir()
    history = DownloadHistory(tmp_path / "history.json")
    assert "Cannot read" in history.warning
    task = client.add(DATA)
    downloaded = asyncio.run(Downloader(client.as_client, folder, history).download(task.id))
    assert Path(downloaded.path).read_bytes() == DATA


def test_concurrent_histories_keep_all_entries(client: FakeClient, folder: Path, tmp_path: Path) -> None:
    one, two = client.add(DATA, name="one"), client.add(DATA, name="two")
    first = Downloader(client.as_client, folder, DownloadHistory(tmp_path / "state.json"))
    second = Downloader(client.as_client, folder, DownloadHistory(tmp_path / "state.json"))
    asyncio.run(first.download(one.id))
    asyncio.run(second.download(two.id))
    assert asyncio.run(first.pending_tasks()) == asyncio.run(second.pending_tasks()) == ()


def test_history_file_is_private(client: FakeClient, downloads: Downloader, tmp_path: Path) -> None:
    client.add(DATA)
    asyncio.run(downloads.download_pending())
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    assert [name for name in list_names(tmp_path) if name.endswith(".tmp")] == []


def test_history_path_depends_on_workspace_and_subject(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    files = {
        default_history_path("w1", ME),
        default_history_path("w1", OTHER),
        default_history_path("w2", ME),
        default_history_path("../..", ME),
    }
    assert len(files) == 4
    assert {path.parent for path in files} == {tmp_path / "sealyard" / "downloads"}


# ---- automatic downloads


def run_until_idle(
    downloads: Downloader, client: FakeClient, *streams: Stream
) -> list[DownloadResult | DownloadsInterrupted]:
    """Run until the last stream has been read and all attempts have ended. Returns the results."""
    events: list[DownloadEvent] = []
    client.streams = list(streams)

    async def run() -> None:
        running = asyncio.create_task(downloads.run(events.append))
        await client.waiting.wait()
        while any("_until_settled" in repr(each.get_coro()) for each in asyncio.all_tasks()):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(run(), TIMEOUT))
    return [each for each in events if isinstance(each, DownloadResult | DownloadsInterrupted)]


def collect_results(downloads: Downloader, client: FakeClient, *streams: Stream) -> list[DownloadResult]:
    """Like :func:`run_until_idle`, for streams that do not break."""
    events = run_until_idle(downloads, client, *streams)
    results = [each for each in events if isinstance(each, DownloadResult)]
    assert results == events
    return results


def test_run_downloads_earlier_results(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA)
    (result,) = collect_results(downloads, client)
    assert (result.task_id, result.error) == (task.id, None)
    assert client.cursors == [0]


def test_run_downloads_finished_task_once(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA, status=TaskStatus.RUNNING)
    foreign = client.add(DATA, by=OTHER)

    class Finishing(Stream):
        """Finishes the task when its event is sent, not before."""

        def __iter__(self) -> Iterator[Event | Exception]:
            client.add(DATA, task_id=task.id)
            return super().__iter__()

    (result,) = collect_results(
        downloads,
        client,
        Finishing([finished_task(task, 5), finished_task(foreign, 6), finished_task(task, 7), EventsMissed(cursor=8)]),
    )
    assert result.task_id == task.id
    assert client.confirmed == [task.id]


def test_run_recovers_missed_events(client: FakeClient, downloads: Downloader) -> None:
    class Missing(Stream):
        def __iter__(self) -> Iterator[Event | Exception]:
            client.add(DATA)
            return super().__iter__()

    (result,) = collect_results(downloads, client, Missing([EventsMissed(cursor=9)]))
    assert result.downloaded is not None


def test_run_reconnects_with_growing_delays(client: FakeClient, downloads: Downloader, clock: FakeClock) -> None:
    foreign = client.add(DATA, by=OTHER)
    broken: Stream = [SealyardError("The connection broke.")]
    events = run_until_idle(downloads, client, [finished_task(foreign, 41), *broken], *[broken] * 8)
    assert [each.retry_in for each in events] == clock.slept
    assert tuple(clock.slept[:6]) == RECONNECT_DELAYS.seconds
    assert set(clock.slept[6:]) == {RECONNECT_DELAYS.seconds[-1]}
    assert client.cursors == [0] + [41] * 9


def test_working_connection_resets_reconnect_delay(client: FakeClient, downloads: Downloader, clock: FakeClock) -> None:
    broken = SealyardError("The connection broke.")
    run_until_idle(downloads, client, [broken], [broken], [EventsMissed(cursor=1), broken])
    assert tuple(clock.slept) == (*RECONNECT_DELAYS.seconds[:2], RECONNECT_DELAYS.seconds[0])


def test_run_retries_failed_download_with_backoff(client: FakeClient, downloads: Downloader, clock: FakeClock) -> None:
    task = client.add(DATA)
    client.bytes[task.id] = b"x" * len(DATA)
    results = run_until_idle(downloads, client)
    assert [each.retry_in for each in results] == [*RETRY_DELAYS.seconds, None]
    assert tuple(clock.slept) == RETRY_DELAYS.seconds


def test_run_restarts_removed_partial_file(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    client.pem = create_self_signed(key, "own", NOW).decode()
    package = client.add(build_signed_container(key), name="package.se1", kind=TaskKind.PACKAGING)
    other = client.add(DATA, status=TaskStatus.RUNNING)

    def remove_once() -> None:
        if remove_parts(folder):
            client.on_chunk = lambda: None

    class Finishing(Stream):
        """Finishes the other task after the partial file was removed."""

        def __iter__(self) -> Iterator[Event | Exception]:
            client.add(DATA, task_id=other.id)
            return super().__iter__()

    client.on_chunk = remove_once
    results = collect_results(downloads, client, Finishing([finished_task(other, 1)]))
    assert [each.retry_in for each in results if each.error is not None] == [RETRY_DELAYS.seconds[0]]
    assert {each.task_id for each in results if each.downloaded is not None} == {package.id, other.id}


def test_run_downloads_renewed_result(client: FakeClient, downloads: Downloader) -> None:
    task = client.add(DATA)
    client.expire(task.id)

    class Renewing(Stream):
        def __iter__(self) -> Iterator[Event | Exception]:
            client.renew_link(task.id)
            return super().__iter__()

    first = run_until_idle(downloads, client, [finished_task(task, 1), EventsMissed(cursor=2)])
    assert [each.error and each.error.code for each in first] == ["result-expired"]
    client.waiting = asyncio.Event()
    (second,) = collect_results(downloads, client, Renewing([finished_task(task, 3)]))
    assert second.downloaded is not None


def test_run_ends_with_event_stream(client: FakeClient, downloads: Downloader) -> None:
    client.streams, client.ending = [[EventsMissed(cursor=1)]], True
    asyncio.run(asyncio.wait_for(downloads.run(lambda _: None), TIMEOUT))


def test_cancelled_run_keeps_partial_file(client: FakeClient, downloads: Downloader, folder: Path) -> None:
    task = client.add(DATA)

    async def cancel_run() -> None:
        running = asyncio.create_task(downloads.run(lambda _: None))
        client.on_chunk = running.cancel
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(cancel_run(), TIMEOUT))
    assert [name for name in list_names(folder) if not name.endswith(".part")] == []
    client.on_chunk = lambda: None
    assert Path(asyncio.run(downloads.download(task.id)).path).read_bytes() == DATA
