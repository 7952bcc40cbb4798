"""Tasks and results are the same to a client, whether the engine is in this process or on a server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from sealyard.client.downloads.downloader import Downloader
from sealyard.client.downloads.history import DownloadHistory
from sealyard.client.protocol import Client
from sealyard.model.errors import (
    ConflictError,
    InvalidInputError,
    InvalidTransitionError,
    NotFoundError,
    PermissionDeniedError,
    ResultExpiredError,
    SealyardError,
    UsageError,
    WaitTimeoutError,
)
from sealyard.model.events import TaskChanged
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest, TaskFilter
from sealyard.model.tasks import DecisionOrigin, InputFile, ResultState, TaskKind, TaskStatus, Verdict
from tests.support.client_kinds import CONTENT, DEV, GATEWAY, OWNER, ClientHarness, ContractSubjects


def test_a_package_goes_from_files_to_a_container_that_came_down_and_was_checked(yard: ClientHarness) -> None:
    async def test(people: ContractSubjects) -> None:
        _, dev, owner = await people.all_clients()
        told: list[tuple[int, int]] = []
        firmware = await dev.upload(people.create_file(), progress=lambda done, total: told.append((done, total)))
        metadata = await dev.upload(people.create_file("meta.json", b'{"version": 1}'))
        assert firmware == InputFile(name="firmware.bin", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
        assert told[-1] == (len(CONTENT), len(CONTENT))
        request = PackageRequest(config=GATEWAY, firmware=(firmware,), metadata=(metadata,), name="release 1")
        made = await dev.create_package(request)
        assert (made.kind, made.created_by, made.name) == (TaskKind.PACKAGING, DEV, "release 1")
        assert (made.inputs, made.metadata) == ((firmware,), (metadata,))
        await dev.discard_uploads((firmware, metadata))

        seen = await owner.review(made.id)
        assert (seen.blocked_reason, seen.metadata) == ("", (("meta.json", b'{"version": 1}'),))
        await owner.decide(
            made.id, Verdict.APPROVED, "fine", digest=seen.task.approval_digest, origin=DecisionOrigin.TERMINAL
        )
        done = await dev.wait(made.id, within=60)
        assert done.status is TaskStatus.DONE
        assert [(each.by, each.reason, each.origin) for each in done.approvals] == [
            (OWNER, "fine", DecisionOrigin.TERMINAL)
        ]

        downloads = Downloader(dev, people.folder / "out", DownloadHistory(people.folder / "state.json"))
        found = await downloads.download(done.id)
        assert done.result is not None
        assert (found.sha256, found.checked) == (done.result.sha256, "signature")
        whole = Path(found.path).read_bytes()
        assert hashlib.sha256(whole).hexdigest() == done.result.sha256
        for offset in (1, len(whole) - 1, len(whole)):
            assert b"".join([each async for each in dev.download(done.id, offset=offset)]) == whole[offset:]
        assert "BEGIN CERTIFICATE" in await dev.certificate(done.id)

    yard.run(test)


def test_an_encryption_runs_by_itself(yard: ClientHarness) -> None:
    async def test(people: ContractSubjects) -> None:
        dev = await people.client_for(DEV)
        file = await dev.upload(people.create_file())
        made = await dev.create_encryption(EncryptionRequest(config=GATEWAY, file=file, content_type="a/b"))
        assert (await dev.wait(made.id, within=60)).status is TaskStatus.DONE
        with pytest.raises(NotFoundError):
            await dev.certificate(made.id)

    yard.run(test)


def test_a_message_is_signed(yard: ClientHarness) -> None:
    async def test(people: ContractSubjects) -> None:
        _, dev, owner = await people.all_clients()
        made = await dev.create_signing(SigningRequest(config=GATEWAY, message=b"\0\xff", file_name="m.bin"))
        assert made.inputs[0].inline == base64.b64encode(b"\0\xff").decode()
        await owner.decide(made.id, Verdict.APPROVED)
        done = await dev.wait(made.id, within=60)
        assert done.result is not None
        assert len(base64.b64decode(done.result.signature or "")) == 64
        with pytest.raises(ConflictError):
            _ = [each async for each in dev.download(made.id)]

    yard.run(test)


def test_the_same_client_token_gives_the_same_task(yard: ClientHarness) -> None:
    async def test(people: ContractSubjects) -> None:
        dev = await people.client_for(DEV)
        file = await dev.upload(people.create_file())
        request = PackageRequest(config=GATEWAY, firmware=(file,), client_token="once")
        first, second = await dev.create_package(request), await dev.create_package(request)
        assert first.id == second.id
        assert (await dev.counts()).total == 1
        signing = SigningRequest(config=GATEWAY, message=b"m", client_token="once more")
        made = await asyncio.gather(*(dev.create_signing(signing) for _ in range(5)))
        assert len({each.id for each in made}) == 1

    yard.run(test)


@pytest.mark.parametrize("name", ["missing", "empty", "folder"])
def test_a_file_that_cannot_be_handed_in_is_refused_in_the_same_words(
    yard: ClientHarness, name: str, tmp_path: Path
) -> None:
    words = {
        "missing": "missing not found. Check the name and the folder.",
        "empty": "empty is empty. Choose a file with content.",
        "folder": "folder is a directory. Choose a file.",
    }

    async def test(people: ContractSubjects) -> None:
        (tmp_path / "empty").touch()
        (tmp_path / "folder").mkdir()
        dev = await people.client_for(DEV)
        with pytest.raises(InvalidInputError) as caught:
            await dev.upload(tmp_path / name)
        assert str(caught.value) == words[name]
        with pytest.raises(InvalidInputError, match="SHA-256 mismatch"):
            await dev.upload(people.create_file(), expected_sha256="0" * 64)

    yard.run(test)


def test_uploads_that_were_discarded_make_no_task(yard: ClientHarness) -> None:
    async def test(people: ContractSubjects) -> None:
        dev = await people.client_for(DEV)
        file = await dev.upload(people.create_file())
        await dev.discard_uploads((file,))
        with pytest.raises(InvalidInputError):
            await dev.create_encryption(EncryptionRequest(config=GATEWAY, file=file))

    yard.run(test)


def test_files_of_the_same_content_are_packed_as_often_as_they_are_given(yard: ClientHarness) -> None:
    async def test(people: ContractSubjects) -> None:
        dev = await people.client_for(DEV)
        files = [await dev.upload(people.create_file(name)) for name in ("a.bin", "b.bin", "a.bin")]
        made = await dev.create_package(PackageRequest(config=GATEWAY, firmware=tuple(files)))
        assert [each.name for each in made.inputs] == ["a.bin", "b.bin", "a.bin"]

    yard.run(test)


async def _refusal(work: object) -> SealyardError:
    assert asyncio.iscoroutine(work)
    with pytest.raises(SealyardError) as caught:
        await work
    return caught.value


def test_four_eyes_hold_and_refusals_say_the_same(yard: ClientHarness) -> None:
    async def test(people: ContractSubjects) -> None:
        _, dev, owner = await people.all_clients()
        task = await people.package()
        mine = await _refusal(dev.decide(task.id, Verdict.APPROVED))
        assert isinstance(mine, PermissionDeniedError)
        other = await _refusal(owner.decide(task.id, Verdict.APPROVED, digest="0" * 64))
        assert str(other) == "The task changed since you reviewed it. Review the task again, then decide."
        assert isinstance(await _refusal(owner.decide(task.id, Verdict.REJECTED, "x" * 100_000)), UsageError)
        assert isinstance(await _refusal(owner.withdraw(task.id, "not mine")), PermissionDeniedError)
        withdrawn = await dev.withdraw(task.id, "not needed")
        assert (withdrawn.status, "not needed" in withdrawn.reason) == (TaskStatus.CANCELLED, True)
        assert isinstance(await _refusal(dev.cancel(task.id)), InvalidTransitionError)
        assert isinstance(await _refusal(dev.task("no-such-task")), NotFoundError)

    yard.run(test)


def test_a_rejected_and_a_cancelled_task_end(yard: ClientHarness) -> None:
    async def test(people: ContractSubjects) -> None:
        _, dev, owner = await people.all_clients()
        first, second = await people.package(), await people.package()
        assert (await owner.decide(first.id, Verdict.REJECTED, "too old")).status is TaskStatus.CANCELLED
        assert (await dev.cancel(second.id)).status is TaskStatus.CANCELLED
        assert (await dev.wait(first.id, within=1)).reason.endswith("too old")

    yard.run(test)


def test_lists_are_paged_filtered_and_counted_alike(yard: ClientHarness) -> None:
    async def test(people: ContractSubjects) -> None:
        _, dev, owner = await people.all_clients()
        made = [await people.package(name=f"release {number}") for number in range(5)]
        signing = await dev.create_signing(SigningRequest(config=GATEWAY, message=b"m", name="ä&=?#%"))

        found, after = [], None
        while True:
            page = await dev.tasks(TaskFilter(kind=TaskKind.PACKAGING), after=after, limit=2)
            found += [each.id for each in page.tasks]
            if (after := page.next) is None:
                break
        assert found == [each.id for each in reversed(made)]
        assert (await dev.tasks(TaskFilter())).total == 6
        assert [each.id for each in (await dev.tasks(TaskFilter(text="ä&=?#%"))).tasks] == [signing.id]
        oldest = await owner.tasks(TaskFilter(awaiting_my_approval=True, oldest_first=True), limit=1)
        assert [each.id for each in oldest.tasks] == [made[0].id]
        assert (await owner.tasks(TaskFilter(created_by=OWNER))).tasks == ()
        assert (await owner.tasks(TaskFilter(config=GATEWAY, status=TaskStatus.WAITING))).total == 6
        counts = await owner.counts()
        assert (counts.by_status, counts.awaiting_my_approval, counts.mine) == ({TaskStatus.WAITING: 6}, 6, 0)
        assert (await dev.task(made[0].id[:20])).id == made[0].id

    yard.run(test)


def test_an_expired_result_is_refused_until_it_is_renewed(yard: ClientHarness) -> None:
    async def test(people: ContractSubjects) -> None:
        _, dev, owner = await people.all_clients()
        task = await people.package()
        await owner.decide(task.id, Verdict.APPROVED)
        await dev.wait(task.id, within=60)
        people.clock.added = timedelta(days=2)
        with pytest.raises(ResultExpiredError, match="Renew the link"):
            _ = [each async for each in dev.download(task.id)]
        renewed = await dev.renew(task.id)
        assert renewed.result is not None
        assert renewed.result.state is ResultState.AVAILABLE
        assert b"".join([each async for each in dev.download(task.id)])
        await dev.report_downloaded(task.id)

    yard.run(test)


# ---- events


async def _changes(client: Client, count: int, after: int) -> list[tuple[str, TaskStatus]]:
    found: list[tuple[str, TaskStatus]] = []
    async with contextlib.aclosing(client.events(after)) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, TaskChanged):
                found.append((event.task_id, event.status))
            if len(found) == count:
                break
    return found


def test_events_tell_each_change_once_in_order_to_whoever_was_away_too(yard: ClientHarness) -> None:
    async def test(people: ContractSubjects) -> None:
        _, dev, owner = await people.all_clients()
        events = dev.events()
        listening = asyncio.ensure_future(anext(events))
        await dev.counts()
        task = await people.package()
        first = await listening
        await owner.decide(task.id, Verdict.APPROVED)
        await dev.wait(task.id, within=60)
        after = first.cursor - 1
        statuses = [status for task_id, status in await _changes(dev, 3, after) if task_id == task.id]
        assert statuses[:2] == [TaskStatus.CREATED, TaskStatus.WAITING]
        await events.aclose()  # type: ignore[attr-defined]

    yard.run(test)


def test_what_changes_after_the_cursor_was_taken_is_told_however_late_it_is_asked_for(yard: ClientHarness) -> None:
    async def test(people: ContractSubjects) -> None:
        dev = await people.client_for(DEV)
        await people.package()
        cursor = await dev.cursor()
        task = await people.package()
        assert [task_id for task_id, _ in await _changes(dev, 1, cursor)] == [task.id]

    yard.run(test)


def test_waiting_for_a_task_ends_with_its_time(yard: ClientHarness) -> None:
    async def test(people: ContractSubjects) -> None:
        task = await people.package()
        dev = await people.client_for(DEV)
        with pytest.raises(WaitTimeoutError, match=task.id):
            await dev.wait(task.id, within=0.2)
        assert (await dev.wait(task.id, within=10, or_waiting=True)).status is TaskStatus.WAITING

    yard.run(test)
