"""Handing results out: while the link lives, renewed while the artifact is kept, said when it is over."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from sealyard.engine.state.links import DownloadLinks
from sealyard.model.audit import AuditAction
from sealyard.model.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    ResultExpiredError,
    ResultGoneError,
    SealyardError,
    UsageError,
)
from sealyard.model.tasks import ResultState, Task, TaskStatus
from tests.support.clock import START
from tests.support.engine_harness import ADMIN, CLIENT, DEV, OWNER, EngineHarness, sha256

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 40
HOUR = 3600


@pytest.fixture
async def done(empty_harness: EngineHarness) -> Task:
    """A package whose link lives an hour and whose artifact is kept for a day."""
    await empty_harness.add_default_subjects(link_ttl_seconds=HOUR, retention_seconds=24 * HOUR)
    return await empty_harness.done_package(CONTENT)


async def download(harness: EngineHarness, task: Task, offset: int = 0, by: str = DEV) -> bytes:
    return b"".join([chunk async for chunk in harness.engine.delivery.download(by, task.id, offset)])


def state(harness: EngineHarness, task: Task) -> ResultState:
    result = harness.task(task.id).result
    assert result is not None
    return result.state


async def aged(harness: EngineHarness, task: Task, wanted: ResultState) -> None:
    await harness.wait_until(lambda: state(harness, task) is wanted)
    await harness.wait_until_durable()


async def test_the_times_count_from_done(empty_harness: EngineHarness, done: Task) -> None:
    assert done.result is not None
    assert done.result.expires_at == START + timedelta(hours=1)
    assert done.result.retained_until == START + timedelta(days=1)


@pytest.mark.parametrize("offset", [0, 1, 10_000, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 1])
async def test_a_download_goes_on_from_any_offset(empty_harness: EngineHarness, done: Task, offset: int) -> None:
    assert await download(empty_harness, done, offset) == CONTENT[offset:]


async def test_an_offset_before_the_beginning_is_refused(empty_harness: EngineHarness, done: Task) -> None:
    with pytest.raises(UsageError):
        await download(empty_harness, done, -1)


async def test_whoever_may_see_the_task_may_have_its_result(empty_harness: EngineHarness, done: Task) -> None:
    assert await download(empty_harness, done, by=OWNER) == CONTENT
    await empty_harness.add_subject("USER:stranger")
    for asking in ("USER:stranger", "USER:unknown"):
        with pytest.raises(NotFoundError):
            await download(empty_harness, done, by=asking)


async def test_the_link_is_good_to_its_very_end(empty_harness: EngineHarness, done: Task) -> None:
    await empty_harness.advance_clock(seconds=HOUR - 1, microseconds=999_999)
    assert await download(empty_harness, done) == CONTENT
    assert empty_harness.engine.queries.get(DEV, done.id).result.state is ResultState.AVAILABLE  # type: ignore[union-attr]
    await empty_harness.advance_clock(microseconds=1)
    with pytest.raises(ResultExpiredError, match="expired") as caught:
        await download(empty_harness, done)
    assert done.id in caught.value.hint
    assert empty_harness.engine.queries.get(DEV, done.id).result.state is ResultState.EXPIRED  # type: ignore[union-attr]


async def test_expired_and_gone_are_recorded_and_audited_and_the_artifact_removed(
    empty_harness: EngineHarness, done: Task
) -> None:
    path = empty_harness.artifacts.result_path(done.id)
    await empty_harness.advance_clock(hours=1)
    await aged(empty_harness, done, ResultState.EXPIRED)
    assert path.is_file()
    await empty_harness.advance_clock(hours=22, minutes=59, seconds=59)
    await empty_harness.wait_until_durable()
    assert path.is_file()
    await empty_harness.advance_clock(seconds=1)
    await aged(empty_harness, done, ResultState.GONE)
    assert not path.exists()
    changes = [each.change for each in await empty_harness.audit_entries(about=f"TASK:{done.id}")]
    assert changes[-2:] == [AuditAction.EXPIRED, AuditAction.REMOVED]
    with pytest.raises(ResultGoneError, match="removed"):
        await download(empty_harness, done)


async def test_a_result_is_renewed_while_it_is_kept_and_never_beyond(empty_harness: EngineHarness, done: Task) -> None:
    await empty_harness.advance_clock(hours=2)
    await aged(empty_harness, done, ResultState.EXPIRED)
    renewed = await empty_harness.execute(DEV, empty_harness.engine.delivery.renew(DEV, done.id))
    assert renewed.result is not None
    assert renewed.result.expires_at == START + timedelta(hours=3)
    assert await download(empty_harness, done) == CONTENT
    await empty_harness.advance_clock(hours=21, minutes=30)
    renewed = await empty_harness.execute(DEV, empty_harness.engine.delivery.renew(DEV, done.id))
    assert renewed.result is not None
    assert renewed.result.expires_at == renewed.result.retained_until == START + timedelta(days=1)
    assert renewed.result.retained_until is not None
    end = renewed.result.retained_until + timedelta(milliseconds=500)  # links count whole seconds
    assert f"?expires={end.timestamp():.0f}&" in (renewed.result.link or "")
    assert len(await empty_harness.audit_entries(AuditAction.RENEWED)) == 2
    await empty_harness.advance_clock(minutes=30)
    with pytest.raises(ResultGoneError):
        await empty_harness.execute(DEV, empty_harness.engine.delivery.renew(DEV, done.id))
    await aged(empty_harness, done, ResultState.GONE)
    assert not empty_harness.artifacts.has_result(done.id)


async def test_a_renewed_result_expires_again(empty_harness: EngineHarness, done: Task) -> None:
    await empty_harness.advance_clock(hours=1)
    await aged(empty_harness, done, ResultState.EXPIRED)
    await empty_harness.execute(DEV, empty_harness.engine.delivery.renew(DEV, done.id))
    await aged(empty_harness, done, ResultState.AVAILABLE)
    await empty_harness.advance_clock(hours=1)
    await aged(empty_harness, done, ResultState.EXPIRED)
    assert len(await empty_harness.audit_entries(AuditAction.EXPIRED)) == 2


async def test_a_download_is_audited_when_it_was_whole(empty_harness: EngineHarness, done: Task) -> None:
    await download(empty_harness, done)
    assert await empty_harness.audit_entries(AuditAction.DOWNLOADED) == []
    await empty_harness.execute(DEV, empty_harness.engine.delivery.record_download(DEV, done.id))
    entry = (await empty_harness.audit_entries(AuditAction.DOWNLOADED))[0]
    assert (entry.author, entry.new_value) == (DEV, {"sha256": sha256(CONTENT), "size": len(CONTENT)})


async def test_what_has_no_artifact_says_so(empty_harness: EngineHarness, done: Task) -> None:
    unfinished = await empty_harness.package()
    signing = await empty_harness.approve(await empty_harness.signing())
    worker = await empty_harness.wait_for_worker(signing)
    worker.request_signing()
    await empty_harness.wait_until(lambda: worker.permitted)
    worker.finish_signature()
    signed = await empty_harness.wait_until_final(signing)
    for task in (unfinished, signed):
        for act in (
            download(empty_harness, task),
            empty_harness.execute(DEV, empty_harness.engine.delivery.renew(DEV, task.id)),
            empty_harness.execute(DEV, empty_harness.engine.delivery.record_download(DEV, task.id)),
        ):
            with pytest.raises(ConflictError):
                await act


async def test_an_artifact_that_was_removed_by_hand_is_gone(empty_harness: EngineHarness, done: Task) -> None:
    empty_harness.artifacts.remove_result(done.id)
    with pytest.raises(ResultGoneError):
        await download(empty_harness, done)


async def test_the_certificate_is_that_of_the_key_version_the_task_signed_with(
    empty_harness: EngineHarness, done: Task
) -> None:
    first = empty_harness.shelf.infos["local:gateway-signing"].current.certificate
    await empty_harness.execute(ADMIN, empty_harness.engine.devices.rotate_key(ADMIN, "local:gateway-signing"))
    assert empty_harness.engine.delivery.certificate(DEV, done.id) == first
    newer = await empty_harness.package()
    assert empty_harness.engine.delivery.certificate(DEV, newer.id) not in (None, first)
    with pytest.raises(NotFoundError):
        empty_harness.engine.delivery.certificate(DEV, (await empty_harness.encryption()).id)


# ---- links

KEY = b"k" * 32


def test_a_link_leads_to_its_task_until_it_ends() -> None:
    links = DownloadLinks("w1", KEY)
    end = START + timedelta(hours=1)
    link = links.sign("t1", end)
    assert links.verify(link, end - timedelta(microseconds=1)) == "t1"
    with pytest.raises(ResultExpiredError):
        links.verify(link, end + timedelta(seconds=1))


@pytest.mark.parametrize("left", [b"", b"k" * 31, None])
def test_a_key_that_a_crash_left_in_pieces_signs_nothing(tmp_path: Path, left: bytes | None) -> None:
    """Under an empty key everybody could make links."""
    key_file = tmp_path / "links"
    if left is not None:
        key_file.write_bytes(left)
    links = DownloadLinks.open("w1", key_file)
    assert len(key_file.read_bytes()) == 32
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    with pytest.raises(PermissionDeniedError):
        links.verify(DownloadLinks("w1", left or b"").sign("t1", START), START - timedelta(hours=1))
    again = DownloadLinks.open("w1", key_file)
    assert again.verify(links.sign("t1", START), START - timedelta(hours=1)) == "t1"


def test_a_forged_link_is_refused() -> None:
    links = DownloadLinks("w1", KEY)
    link = links.sign("t1", START)
    number = link.partition("expires=")[2].partition("&")[0]
    forged = [
        link.replace("t1", "t2"),
        link.replace("w1", "w2"),
        link.replace(number, str(int(number) + 9999)),
        link[:-1] + ("0" if link[-1] != "0" else "1"),
        link.upper(),
        link + "0",
        link + "\n",
        "",
        "sealyard:",
        DownloadLinks("w1", b"x" * 32).sign("t1", START),
        DownloadLinks("w2", KEY).sign("t1", START),
    ]
    for each in forged:
        with pytest.raises(SealyardError):
            links.verify(each, START - timedelta(hours=1))


async def test_the_link_of_another_task_opens_nothing(empty_harness: EngineHarness, done: Task) -> None:
    other = await empty_harness.done_package(b"other")
    assert done.result is not None
    assert other.result is not None
    swapped = msgspec.structs.replace(done, result=msgspec.structs.replace(done.result, link=other.result.link))
    await empty_harness.insert_tasks(swapped)
    with pytest.raises(PermissionDeniedError):
        await download(empty_harness, done)


async def test_links_outlive_the_engine_and_their_key_is_private(empty_harness: EngineHarness, done: Task) -> None:
    assert empty_harness.paths.link_key.stat().st_mode & 0o777 == 0o600
    await empty_harness.reopen()
    assert await download(empty_harness, done) == CONTENT
    assert empty_harness.task(done.id).status is TaskStatus.DONE
    with pytest.raises(NotFoundError):
        await download(empty_harness, done, by="CLIENT:" + "none")
    assert await download(empty_harness, done, by=CLIENT) == CONTENT
