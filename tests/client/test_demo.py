"""The demo: everybody is there, and tasks in all the states that are worth seeing."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from sealyard.client.config.profiles import profiles_of
from sealyard.client.demo import (
    ADMINISTRATOR,
    AUDITOR,
    DEVELOPER,
    OWNER,
    DemoWorkspace,
    create_demo,
    populate,
    temporary_dir,
)
from sealyard.client.engine_handle import EngineHandle
from sealyard.client.protocol import Client
from sealyard.model.access import Role, roles_for
from sealyard.model.audit import AuditFilter
from sealyard.model.requests import TaskCounts, TaskFilter
from sealyard.model.tasks import ResultState, TaskKind, TaskStatus

LIMIT = 30.0


def test_a_thrown_away_folder_leaves_nothing_unless_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with contextlib.suppress(ZeroDivisionError), temporary_dir() as root:
        (root / "file").write_text("")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with temporary_dir(keep=True) as root:
        pass
    assert list(tmp_path.iterdir()) == [root]


def test_the_passphrase_of_a_demo_is_not_shown(tmp_path: Path) -> None:
    place = DemoWorkspace(folder=tmp_path, passphrase="canary", downloads=tmp_path)
    assert "canary" not in repr(place)


def test_a_demo_has_its_people_and_tasks_in_all_states(tmp_path: Path) -> None:
    asyncio.run(asyncio.wait_for(_looked_at(tmp_path), 2 * LIMIT))


async def _looked_at(root: Path) -> None:
    place = await create_demo(root)
    engine = await EngineHandle.open(place.folder, purpose="test", passphrase=place.passphrase)
    try:
        await populate(engine)
        roles = {each: roles_for((await engine.client(each).workspace()).rights) for each in _people()}
        tasks = (await engine.client(DEVELOPER).tasks(TaskFilter())).tasks
        counts = await _settled(engine.client(DEVELOPER))
        waiting = (await engine.client(OWNER).tasks(TaskFilter(awaiting_my_approval=True))).tasks
        seen = await engine.client(OWNER).review(waiting[0].id)
        entries = (await engine.client(AUDITOR).audit(AuditFilter())).entries
    finally:
        await engine.close()

    people = {each.identity: each for each in profiles_of(place.folder)}
    assert set(people) == set(_people())
    assert {each.downloads for each in people.values()} == {str(root / "downloads")}
    assert roles == {
        ADMINISTRATOR: (Role.ADMINISTRATOR,),
        AUDITOR: (Role.AUDITOR,),
        DEVELOPER: (Role.DEVELOPER, Role.PRODUCT_OWNER),
        OWNER: (Role.PRODUCT_OWNER,),
    }
    assert counts.results == {ResultState.AVAILABLE: 3, ResultState.EXPIRED: 1, ResultState.GONE: 1}
    assert counts.by_status == {
        TaskStatus.WAITING: 2,
        TaskStatus.DONE: 5,
        TaskStatus.FAILED: 1,
        TaskStatus.CANCELLED: 2,
    }
    assert Counter(each.kind for each in tasks if each.status is TaskStatus.DONE) == {
        TaskKind.PACKAGING: 2,
        TaskKind.ENCRYPTION: 2,
        TaskKind.SIGNING: 1,
    }
    assert all(each.reason for each in tasks if each.status in (TaskStatus.FAILED, TaskStatus.CANCELLED))
    assert counts.awaiting_my_approval == 0
    assert [each.created_by for each in waiting] == [DEVELOPER, DEVELOPER]
    assert "version" in str(seen.metadata[0][1])
    assert len(entries) > 20


async def _settled(client: Client) -> TaskCounts:
    """Once the time of the two short-lived results is over."""
    limit = time.monotonic() + LIMIT
    while (counts := await client.counts()).results.get(ResultState.AVAILABLE, 0) != 3 or (
        ResultState.GONE not in counts.results
    ):
        assert time.monotonic() < limit, counts
        await asyncio.sleep(0.05)
    return counts


def _people() -> tuple[str, ...]:
    return (ADMINISTRATOR, AUDITOR, DEVELOPER, OWNER)
