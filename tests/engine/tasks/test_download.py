"""Tests of result downloads: signed links, expiry, renewal and retention."""

from __future__ import annotations

import itertools
from datetime import timedelta

import msgspec
import pytest

from sealyard.engine.state.links import DownloadLinks
from sealyard.model.audit import AuditAction
from sealyard.model.errors import (
    ConflictError,
    KeyStoreLockedError,
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
async def done_task(empty_harness: EngineHarness) -> Task:
    """Return a package task whose link expires after an hour and whose artifact is kept for a day."""
    await empty_harness.add_default_subjects(link_ttl_seconds=HOUR, retention_seconds=24 * HOUR)
    return await empty_harness.done_package(CONTENT)


async def download(harness: EngineHarness, task: Task, offset: int = 0, by: str = DEV) -> bytes:
    return b"".join([chunk async for chunk in harness.engine.delivery.download(by, task.id, offset)])


def result_state(harness: EngineHarness, task: Task) -> ResultState:
    result = harness.task(task.id).result
    assert result is not None
    return result.state


async def wait_for_result_state(harness: EngineHarness, task: Task, wanted: ResultState) -> None:
    await harness.wait_until(lambda: result_state(harness, task) is wanted)
    await harness.wait_until_durable()


async def test_expiry_and_retention_start_when_done(empty_harness: EngineHarness, done_task: Task) -> None:
    assert done_task.result is not None
    assert done_task.result.expires_at == START + timedelta(hours=1)
    assert done_task.result.retained_until == START + timedelta(days=1)


@pytest.mark.parametrize("offset", [0, 1, 10_000, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 1])
async def test_download_resumes_from_any_offset(empty_harness: EngineHarness, done_task: Task, offset: int) -> None:
    assert await download(empty_harness, done_task, offset) == CONTENT[offset:]


async def test_negative_offset_is_rejected(empty_harness: EngineHarness, done_task: Task) -> None:
    with pytest.raises(UsageError):
        await download(empty_harness, done_task, -1)


async def test_download_requires_view_permission(empty_harness: EngineHarness, done_task: Task) -> None:
    assert await download(empty_harness, done_task, by=OWNER) == CONTENT
    await empty_harness.add_subject("USER:stranger")
    for subject in ("USER:stranger", "USER:unknown"):
        with pytest.raises(NotFoundError):
            await download(empty_harness, done_task, by=subject)


async def test_download_after_link_expiry_is_rejected(empty_harness: EngineHarness, done_task: Task) -> None:
    await empty_harness.advance_clock(seconds=HOUR - 1, microseconds=999_999)
    assert await download(empty_harness, done_task) == CONTENT
    assert empty_harness.engine.queries.get(DEV, done_task.id).result.state is ResultState.AVAILABLE  # type: ignore[union-attr]
    await empty_harness.advance_clock(microseconds=1)
    with pytest.raises(ResultExpiredError, match="expired") as exc_info:
        await download(empty_harness, done_task)
    assert done_task.id in exc_info.value.hint
    assert empty_harness.engine.queries.get(DEV, done_task.id).result.state is ResultState.EXPIRED  # type: ignore[union-attr]


async def test_expiry_and_removal_are_audited(empty_harness: EngineHarness, done_task: Task) -> None:
    path = empty_harness.artifacts.result_path(done_task.id)
    await empty_harness.advance_clock(hours=1)
    await wait_for_result_state(empty_harness, done_task, ResultState.EXPIRED)
    assert path.is_file()
    await empty_harness.advance_clock(hours=22, minutes=59, seconds=59)
    await empty_harness.wait_until_durable()
    assert path.is_file()
    await empty_harness.advance_clock(seconds=1)
    await wait_for_result_state(empty_harness, done_task, ResultState.GONE)
    assert not path.exists()
    changes = [each.change for each in await empty_harness.audit_entries(about=f"TASK:{done_task.id}")]
    assert changes[-2:] == [AuditAction.EXPIRED, AuditAction.REMOVED]
    with pytest.raises(ResultGoneError, match="removed"):
        await download(empty_harness, done_task)


async def test_renewal_is_limited_by_retention(empty_harness: EngineHarness, done_task: Task) -> None:
    await empty_harness.advance_clock(hours=2)
    await wait_for_result_state(empty_harness, done_task, ResultState.EXPIRED)
    task = await empty_harness.execute(DEV, empty_harness.engine.delivery.renew(DEV, done_task.id))
    assert task.result is not None
    assert task.result.expires_at == START + timedelta(hours=3)
    assert await download(empty_harness, done_task) == CONTENT
    await empty_harness.advance_clock(hours=21, minutes=30)
    task = await empty_harness.execute(DEV, empty_harness.engine.delivery.renew(DEV, done_task.id))
    assert task.result is not None
    assert task.result.expires_at == task.result.retained_until == START + timedelta(days=1)
    assert task.result.retained_until is not None
    expiry = task.result.retained_until + timedelta(milliseconds=500)  # links count whole seconds
    assert f"?expires={expiry.timestamp():.0f}&" in (task.result.link or "")
    renewals = await empty_harness.audit_entries(AuditAction.RENEWED)
    expiries = [START + timedelta(hours=hours) for hours in (1, 3, 24)]
    assert [(change.path, change.old, change.new) for entry in renewals for change in entry.changed_fields] == [
        ("expiresAt", old.isoformat(), new.isoformat()) for old, new in itertools.pairwise(expiries)
    ]
    await empty_harness.advance_clock(minutes=30)
    with pytest.raises(ResultGoneError):
        await empty_harness.execute(DEV, empty_harness.engine.delivery.renew(DEV, done_task.id))
    await wait_for_result_state(empty_harness, done_task, ResultState.GONE)
    assert not empty_harness.artifacts.has_result(done_task.id)


async def test_renewed_result_expires_again(empty_harness: EngineHarness, done_task: Task) -> None:
    await empty_harness.advance_clock(hours=1)
    await wait_for_result_state(empty_harness, done_task, ResultState.EXPIRED)
    await empty_harness.execute(DEV, empty_harness.engine.delivery.renew(DEV, done_task.id))
    await wait_for_result_state(empty_harness, done_task, ResultState.AVAILABLE)
    await empty_harness.advance_clock(hours=1)
    await wait_for_result_state(empty_harness, done_task, ResultState.EXPIRED)
    assert len(await empty_harness.audit_entries(AuditAction.EXPIRED)) == 2


async def test_only_completed_download_is_audited(empty_harness: EngineHarness, done_task: Task) -> None:
    await download(empty_harness, done_task)
    assert await empty_harness.audit_entries(AuditAction.DOWNLOADED) == []
    await empty_harness.execute(DEV, empty_harness.engine.delivery.record_download(DEV, done_task.id))
    entry = (await empty_harness.audit_entries(AuditAction.DOWNLOADED))[0]
    assert (entry.author, entry.new_value) == (DEV, {"sha256": sha256(CONTENT), "size": len(CONTENT)})
    assert entry.message == f"{DEV} reports a complete and verified download"


async def test_task_without_artifact_raises_conflict(empty_harness: EngineHarness, done_task: Task) -> None:
    waiting_task = await empty_harness.package()
    signing_task = await empty_harness.approve(await empty_harness.signing())
    worker = await empty_harness.wait_for_worker(signing_task)
    worker.request_signing()
    await empty_harness.wait_until(lambda: worker.permitted)
    worker.finish_signature()
    signed_task = await empty_harness.wait_until_final(signing_task)
    for task in (waiting_task, signed_task):
        for call in (
            download(empty_harness, task),
            empty_harness.execute(DEV, empty_harness.engine.delivery.renew(DEV, task.id)),
            empty_harness.execute(DEV, empty_harness.engine.delivery.record_download(DEV, task.id)),
        ):
            with pytest.raises(ConflictError):
                await call


async def test_missing_artifact_raises_gone(empty_harness: EngineHarness, done_task: Task) -> None:
    empty_harness.artifacts.remove_result(done_task.id)
    with pytest.raises(ResultGoneError):
        await download(empty_harness, done_task)


async def test_certificate_matches_key_version_of_task(empty_harness: EngineHarness, done_task: Task) -> None:
    first = empty_harness.shelf.infos["local:gateway-signing"].current.certificate
    await empty_harness.execute(ADMIN, empty_harness.engine.devices.rotate_key(ADMIN, "local:gateway-signing"))
    assert empty_harness.engine.delivery.certificate(DEV, done_task.id) == first
    newer_task = await empty_harness.package()
    assert empty_harness.engine.delivery.certificate(DEV, newer_task.id) not in (None, first)
    with pytest.raises(NotFoundError):
        empty_harness.engine.delivery.certificate(DEV, (await empty_harness.encryption()).id)


# ---- links

KEY = b"k" * 32


def test_link_is_valid_until_expiry() -> None:
    links = DownloadLinks("w1", KEY)
    expiry = START + timedelta(hours=1)
    link = links.sign("t1", expiry)
    assert links.verify(link, expiry - timedelta(microseconds=1)) == "t1"
    with pytest.raises(ResultExpiredError):
        links.verify(link, expiry + timedelta(seconds=1))


def test_links_without_key_cannot_be_signed() -> None:
    links = DownloadLinks("w1", None)
    with pytest.raises(KeyStoreLockedError):
        links.sign("t1", START)
    link = DownloadLinks("w1", KEY).sign("t1", START)
    assert links.verify(link, START - timedelta(hours=1)) == "t1"
    with pytest.raises(ResultExpiredError):
        links.verify(link, START + timedelta(seconds=1))


def test_forged_link_is_rejected() -> None:
    links = DownloadLinks("w1", KEY)
    link = links.sign("t1", START)
    number = link.partition("expires=")[2].partition("&")[0]
    forged_links = [
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
    for each in forged_links:
        with pytest.raises(SealyardError):
            links.verify(each, START - timedelta(hours=1))


async def test_link_of_other_task_is_rejected(empty_harness: EngineHarness, done_task: Task) -> None:
    other_task = await empty_harness.done_package(b"other")
    assert done_task.result is not None
    assert other_task.result is not None
    forged_task = msgspec.structs.replace(
        done_task, result=msgspec.structs.replace(done_task.result, link=other_task.result.link)
    )
    await empty_harness.insert_tasks(forged_task)
    with pytest.raises(PermissionDeniedError):
        await download(empty_harness, done_task)


async def test_links_remain_valid_after_restart(empty_harness: EngineHarness, done_task: Task) -> None:
    assert not empty_harness.paths.link_key.exists()
    await empty_harness.reopen()
    assert await download(empty_harness, done_task) == CONTENT
    assert empty_harness.task(done_task.id).status is TaskStatus.DONE
    with pytest.raises(NotFoundError):
        await download(empty_harness, done_task, by="CLIENT:" + "none")
    assert await download(empty_harness, done_task, by=CLIENT) == CONTENT
