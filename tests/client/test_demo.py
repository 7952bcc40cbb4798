"""Test the demo workspace: its subjects, and its tasks in all states."""

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
from tests.support.limits import TIMEOUT


def test_temporary_dir_is_removed_unless_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with contextlib.suppress(ZeroDivisionError), temporary_dir() as root:
        (root / "file").write_text("")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with temporary_dir(keep=True) as root:
        pass
    assert list(tmp_path.iterdir()) == [root]


def test_demo_contains_tasks_in_all_states(tmp_path: Path) -> None:
    asyncio.run(asyncio.wait_for(_check_demo(tmp_path), 2 * TIMEOUT))


async def _check_demo(root: Path) -> None:
    workspace = await create_demo(root)
    engine = await EngineHandle.open(workspace.folder, purpose="test", key_holder=workspace.key_holder)
    try:
        await populate(engine)
        roles = {each: roles_for((await engine.client(each).workspace()).rights) for each in _list_subjects()}
        tasks = (await engine.client(DEVELOPER).tasks(TaskFilter())).tasks
        counts = await _wait_for_expiry(engine.client(DEVELOPER))
        waiting = (await engine.client(OWNER).tasks(TaskFilter(awaiting_my_approval=True))).tasks
        review = await engine.client(OWNER).review(waiting[0].id)
        entries = (await engine.client(AUDITOR).audit(AuditFilter())).entries
    finally:
        await engine.close()
        workspace.key_holder.close()

    profiles = {each.identity: each for each in profiles_of(workspace.folder)}
    assert set(profiles) == set(_list_subjects())
    assert {each.downloads for each in profiles.values()} == {str(root / "downloads")}
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
    assert "version" in str(review.metadata[0][1])
    assert len(entries) > 20


async def _wait_for_expiry(client: Client) -> TaskCounts:
    """Return the counts after the two short-lived results have expired."""
    limit = time.monotonic() + TIMEOUT
    while (counts := await client.counts()).results.get(ResultState.AVAILABLE, 0) != 3 or (
        ResultState.GONE not in counts.results
    ):
        assert time.monotonic() < limit, counts
        await asyncio.sleep(0.05)
    return counts


def _list_subjects() -> tuple[str, ...]:
    return (ADMINISTRATOR, AUDITOR, DEVELOPER, OWNER)
