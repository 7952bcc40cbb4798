"""Test the path from a dropped file to a verified container, with a real engine in this process."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sealyard.client.config.settings import DropAction
from sealyard.client.downloads.downloader import Downloader, DownloadEvent, DownloadResult, VerifiedBy
from sealyard.client.downloads.history import DownloadHistory
from sealyard.client.embedded import EmbeddedClient
from sealyard.client.watch_folder.watcher import DropSubmitted, FolderWatcher, WatchEvent
from sealyard.concurrency.clock import SystemClock
from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.errors import ResultGoneError
from sealyard.model.hints import HintCode
from sealyard.model.requests import EncryptionRequest
from sealyard.model.tasks import Task, Verdict
from tests.support.limits import TIMEOUT
from tests.support.workspace_files import ADMIN, DEVELOPER, OWNER, create_workspace_with_device, open_engine

FIRMWARE = bytes(range(256)) * 4096
DAY = timedelta(days=1)


class MovableClock(SystemClock):
    """A system clock with an adjustable offset."""

    offset = timedelta()

    def now(self) -> datetime:
        return super().now() + self.offset


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"

    asyncio.run(create_workspace_with_device(folder))
    return folder


async def create_encryption(client: EmbeddedClient, source: Path) -> Task:
    file = await client.upload(source)
    task = await client.create_encryption(EncryptionRequest(config="door", file=file))
    return await client.wait(task.id)


def create_downloader(client: EmbeddedClient, root: Path) -> Downloader:
    return Downloader(client, root / "down", DownloadHistory(root / "downloads.json"))


def test_dropped_file_becomes_verified_container(workspace: Path, tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "firmware.bin").write_bytes(FIRMWARE)

    async def main() -> None:
        async with open_engine(workspace) as engine:
            developer, owner = engine.client(DEVELOPER), engine.client(OWNER)
            watch_events: asyncio.Queue[WatchEvent] = asyncio.Queue()
            download_events: asyncio.Queue[DownloadEvent] = asyncio.Queue()
            watch = FolderWatcher(
                developer,
                drop,
                "door",
                watch_events.put_nowait,
                state=tmp_path / "watch.json",
                rule=DropAction.SUBMIT,
                settle=0.05,
            )
            running = [
                asyncio.create_task(watch.run()),
                asyncio.create_task(create_downloader(developer, tmp_path).run(download_events.put_nowait)),
            ]
            submitted = await watch_events.get()
            assert isinstance(submitted, DropSubmitted)
            await owner.decide(submitted.task.id, Verdict.APPROVED)
            while not isinstance(event := await download_events.get(), DownloadResult):
                pass
            assert event.downloaded is not None
            assert event.downloaded.checked is VerifiedBy.SIGNATURE
            assert Path(event.downloaded.path).stat().st_size > len(FIRMWARE)
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            page = await engine.client(ADMIN).audit(AuditFilter(change=AuditAction.DOWNLOADED))
            assert [entry.author for entry in page.entries] == [DEVELOPER]
        async with open_engine(workspace) as engine:
            assert await create_downloader(engine.client(DEVELOPER), tmp_path).download_pending() == ()

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))


def test_result_is_resumed_renewed_and_removed(workspace: Path, tmp_path: Path) -> None:
    clock = MovableClock()
    source = tmp_path / "firmware.bin"
    source.write_bytes(FIRMWARE)

    async def main() -> None:
        async with open_engine(workspace, clock) as engine:
            developer = engine.client(DEVELOPER)
            tasks = [await create_encryption(developer, source) for _ in range(2)]
        async with open_engine(workspace, clock) as engine:
            developer = engine.client(DEVELOPER)
            downloads = create_downloader(developer, tmp_path)
            first, second = await downloads.pending_tasks()
            assert [first.id, second.id] == [task.id for task in tasks]
            whole = b"".join([chunk async for chunk in developer.download(first.id)])
            (tmp_path / "down").mkdir()
            assert first.result is not None
            part = tmp_path / "down" / f"{first.result.file_name}.{first.id}.part"
            part.write_bytes(whole[:100_000])
            downloaded = await downloads.download(first.id)
            assert Path(downloaded.path).read_bytes() == whole
            assert downloaded.checked is VerifiedBy.DIGEST

            clock.offset = 2 * DAY
            (expired,) = await downloads.download_pending()
            assert expired.error is not None
            assert (expired.error.code, expired.error.hint_code) == ("result-expired", HintCode.RENEW_LINK)
            assert await downloads.download_pending() == ()
            await developer.renew(second.id)
            (renewed,) = await downloads.download_pending()
            assert renewed.downloaded is not None

            clock.offset = 40 * DAY
            Path(renewed.downloaded.path).unlink()
            with pytest.raises(ResultGoneError):
                await downloads.download(second.id)

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))
