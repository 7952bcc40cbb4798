"""Attacks on the store of a workspace, by a person who can write the folder and knows no key. Named after each attack.

S2: forge frames that approve a task, change permissions or the quorum, or add an access token; a forged audit entry
would be moved to the audit log and signed. E14: put the store back to an older state (see ``test_audit_attacks.py`` for
states that the audit log notices).

Not noticed by the store itself: whole frames removed at its end, and older frames of the current generation. The audit
log notices them as soon as a checkpoint covers what they contained.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.errors import AuditVerificationError, StoreCorruptedError
from sealyard.model.requests import SigningRequest
from sealyard.model.tasks import TaskStatus, Verdict
from sealyard.model.workspace import WorkspacePaths
from sealyard.storage.frame_format import split_line
from tests.support.extent import choose_count
from tests.support.legacy_store import write_legacy_store
from tests.support.worker_state import read_records
from tests.support.workspace_files import (
    ADMIN,
    DEVELOPER,
    DEVICE,
    OWNER,
    create_empty_workspace,
    create_workspace_with_device,
    open_engine,
)

REFUSED_STARTS = choose_count(share=1, full=2)
"""How often a refused start is repeated. One shows the same as two if it changes no file."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "workspace"
    asyncio.run(_create(folder))
    return folder


async def _create(folder: Path) -> None:
    """Create a workspace with a rejected and a waiting request; the store has a snapshot and a journal."""
    await create_workspace_with_device(folder)
    async with open_engine(folder, work=False) as engine:
        await compact(engine)
        rejected = await request_signature(engine, b"first message")
        await engine.client(OWNER).decide(rejected, Verdict.REJECTED, "not this one")
        await request_signature(engine, b"second message")


async def request_signature(engine: EngineHandle, message: bytes) -> str:
    request = SigningRequest(config=DEVICE, message=message, file_name="message", name="message")
    return (await engine.client(DEVELOPER).create_signing(request)).id


async def compact(engine: EngineHandle) -> None:
    loop = engine.engine._checkpoint_loop
    assert loop is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sealyard.storage.group_commit.GroupCommitter.needs_compaction", True)
        await engine.run(loop.checkpoint())


@pytest.fixture
def paths(template: Path, tmp_path: Path) -> WorkspacePaths:
    shutil.copytree(template, tmp_path / "workspace")
    return WorkspacePaths(tmp_path / "workspace")


async def start(folder: Path) -> None:
    async with open_engine(folder, work=False):
        pass


def read_files(paths: WorkspacePaths) -> dict[Path, bytes]:
    """Return the contents of the files that determine whether an engine starts."""
    files = [*paths.store.iterdir(), *paths.audit.iterdir(), paths.worker_state, paths.file]
    return {path: path.read_bytes() for path in files}


def require_refused(paths: WorkspacePaths, match: str = "The store was changed: .* at byte .*MAC of frame") -> None:
    files = read_files(paths)
    for _ in range(REFUSED_STARTS):
        with pytest.raises(StoreCorruptedError, match=match) as caught:
            asyncio.run(start(paths.root))
        assert "backup" in caught.value.hint
    assert read_files(paths) == files


def journal_path(paths: WorkspacePaths) -> Path:
    [path] = paths.store.glob("journal-*.log")
    return path


def encode_line(mac: bytes, content: dict[str, Any]) -> bytes:
    body = mac + b" " + json.dumps(content, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def append_frame(paths: WorkspacePaths, **batch: Any) -> None:
    """Append a frame with a correct checksum and sequence number, and the MAC of the last frame."""
    path = journal_path(paths)
    mac, last_frame = split_line(path.read_bytes().splitlines(keepends=True)[-1])
    frame = {"seq": json.loads(last_frame)["seq"] + 1, "units": [batch]}
    with path.open("ab") as file:
        file.write(encode_line(mac, frame))


def read_documents(paths: WorkspacePaths, table: str) -> dict[str, Any]:
    """Return the documents of a table as an attacker reads them from the files."""
    documents: dict[str, Any] = {}
    for path in sorted(paths.store.glob("*.log"), reverse=True):  # the snapshot, then the journal
        for line in path.read_bytes().splitlines(keepends=True):
            for batch in json.loads(split_line(line)[1]).get("units", ()):
                documents.update({identity: each for name, identity, each in batch.get("puts", ()) if name == table})
    return documents


def waiting_task(paths: WorkspacePaths) -> dict[str, Any]:
    tasks = read_documents(paths, "tasks").values()
    return next(task for task in tasks if task["status"] == "WAITING")


def test_untouched_workspace_starts(paths: WorkspacePaths) -> None:
    asyncio.run(start(paths.root))


def test_s2_appended_approval_is_refused(paths: WorkspacePaths) -> None:
    task = waiting_task(paths)
    approval = {"subject": OWNER, "verdict": "APPROVED", "at": task["createdAt"]}
    append_frame(paths, puts=[["tasks", task["id"], {**task, "status": "APPROVED", "decisions": [approval]}]])
    require_refused(paths)


def test_s2_appended_audit_entry_is_refused(paths: WorkspacePaths) -> None:
    append_frame(paths, audit=[{"seq": 10_000, "message": "approved"}])
    require_refused(paths)


def test_s2_appended_rule_is_refused(paths: WorkspacePaths) -> None:
    [rule, *_] = read_documents(paths, "rules").values()
    append_frame(paths, puts=[["rules", "planted", {**rule, "id": "planted", "subject": DEVELOPER}]])
    require_refused(paths)


def test_s2_appended_access_token_is_refused(paths: WorkspacePaths) -> None:
    append_frame(paths, puts=[["accessTokens", "planted", {"token": {"id": "planted", "subject": ADMIN}}]])
    require_refused(paths)


def test_s2_removed_quorum_is_refused(paths: WorkspacePaths) -> None:
    [device] = read_documents(paths, "devices").values()
    append_frame(paths, puts=[["devices", device["id"], {**device, "approvalsRequired": 0}]])
    require_refused(paths)


@pytest.mark.parametrize("name", ["snapshot", "journal"])
def test_s2_edited_document_is_refused(paths: WorkspacePaths, name: str) -> None:
    """A document is edited in place, and the checksum of its frame corrected."""
    [path] = paths.store.glob(f"{name}-*.log")
    lines = path.read_bytes().splitlines(keepends=True)
    number = next(number for number, line in enumerate(lines) if DEVICE.encode() in line)
    edited = lines[number].replace(DEVICE.encode(), b"Door")
    lines[number] = b"%08x %b" % (zlib.crc32(edited[9:-1]), edited[9:])
    path.write_bytes(b"".join(lines))
    require_refused(paths)


def change_journal(paths: WorkspacePaths, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the frames of the journal, and correct their sequence numbers and checksums."""
    path = journal_path(paths)
    lines = path.read_bytes().splitlines(keepends=True)
    first_seq = json.loads(split_line(lines[0])[1])["seq"]
    changed_lines = []
    for seq, line in enumerate(change(lines), first_seq):
        renumbered = re.sub(rb'\{"seq":\d+', b'{"seq":%d' % seq, line[9:-1], count=1)
        changed_lines.append(b"%08x %b\n" % (zlib.crc32(renumbered), renumbered))
    path.write_bytes(b"".join(changed_lines))


def test_s2_removed_rejection_is_refused(paths: WorkspacePaths) -> None:
    change_journal(paths, lambda lines: [line for line in lines if b"not this one" not in line])
    require_refused(paths)


def test_s2_repeated_frame_is_refused(paths: WorkspacePaths) -> None:
    change_journal(paths, lambda lines: [*lines[:2], *lines[1:]])
    require_refused(paths)


def test_s2_reordered_frames_are_refused(paths: WorkspacePaths) -> None:
    change_journal(paths, lambda lines: [lines[0], lines[2], lines[1], *lines[3:]])
    require_refused(paths)


def test_s2_store_without_macs_is_refused(paths: WorkspacePaths) -> None:
    """A downgrade: earlier versions wrote no MACs, so such a store can be forged without the key."""
    write_legacy_store(paths.store)
    require_refused(paths, "has no MACs")


def test_s2_store_of_another_workspace_is_refused(paths: WorkspacePaths, tmp_path: Path) -> None:
    asyncio.run(create_empty_workspace(tmp_path / "other"))
    shutil.rmtree(paths.store)
    shutil.copytree(tmp_path / "other" / "store", paths.store)
    require_refused(paths)


def test_s2_store_that_was_removed_is_refused(paths: WorkspacePaths) -> None:
    shutil.rmtree(paths.store)
    with pytest.raises(StoreCorruptedError, match="store of the workspace was removed"):
        asyncio.run(start(paths.root))


def test_e14_older_generation_is_refused(paths: WorkspacePaths, tmp_path: Path) -> None:
    shutil.copytree(paths.store, tmp_path / "older")

    async def scenario() -> None:
        async with open_engine(paths.root, work=False) as engine:
            await compact(engine)

    asyncio.run(scenario())
    shutil.rmtree(paths.store)
    (tmp_path / "older").rename(paths.store)
    require_refused(paths, "The store was put back to an older state")


def test_e14_store_of_a_copy_is_refused_after_compaction(paths: WorkspacePaths, tmp_path: Path) -> None:
    """The store comes from a copy of the workspace that has the same key and was used meanwhile."""

    async def scenario(folder: Path, message: bytes) -> None:
        async with open_engine(folder, work=False) as engine:
            await request_signature(engine, message)
            await compact(engine)

    shutil.copytree(paths.root, tmp_path / "copy")
    asyncio.run(scenario(tmp_path / "copy", b"in the copy"))
    asyncio.run(scenario(paths.root, b"in the original"))
    shutil.rmtree(paths.store)
    (tmp_path / "copy" / "store").rename(paths.store)
    require_refused(paths, "The store was replaced")


def test_removed_last_frames_are_noticed_by_the_audit_log(paths: WorkspacePaths) -> None:
    """The store alone cannot notice this, because nothing outside of it covers its newest frames."""
    path = journal_path(paths)
    lines = path.read_bytes().splitlines(keepends=True)
    number = next(number for number, line in enumerate(lines) if b"not this one" in line)
    path.write_bytes(b"".join(lines[:number]))
    with pytest.raises(AuditVerificationError, match="The store is older than the audit log"):
        asyncio.run(start(paths.root))


def test_generations_are_recorded_in_the_worker_state(paths: WorkspacePaths) -> None:
    recorded = [record for record in read_records(paths.root) if record["type"] == "store"]
    assert [record["generation"] for record in recorded] == [1, 2]
    header = journal_path(paths).read_bytes().splitlines(keepends=True)[0]
    assert recorded[-1]["mac"] == split_line(header)[0].decode()


def test_reading_without_key_still_works(paths: WorkspacePaths) -> None:
    """A reader does not verify; it shows forged documents."""
    task = waiting_task(paths)
    append_frame(paths, puts=[["tasks", task["id"], {**task, "name": "forged"}]])

    async def scenario() -> None:
        reader = await EngineHandle.open_read_only(paths.root)
        try:
            shown = await reader.client(DEVELOPER).task(task["id"])
        finally:
            await reader.close()
        assert (shown.name, shown.status) == ("forged", TaskStatus.WAITING)

    asyncio.run(scenario())
