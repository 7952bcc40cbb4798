"""Tests of which failed requests become audit entries: mistakes of the requester do not, all other failures do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sealyard.containers.se1.header import MAX_SEGMENTS
from sealyard.model.access import Action
from sealyard.model.audit import AuditAction, AuditEntry
from sealyard.model.errors import (
    AlreadyExistsError,
    ConfirmationRequiredError,
    FormatLimitError,
    InputMismatchError,
    InvalidInputError,
    PermissionDeniedError,
    SealyardError,
    UsageError,
)
from sealyard.model.tasks import InputFile, Verdict
from tests.support.engine_harness import DEV, OWNER, SECOND, EngineHarness

pytestmark = pytest.mark.anyio

Call = Callable[[EngineHarness, Path], Awaitable[object]]


def ingest(harness: EngineHarness, path: Path, expected_sha256: str | None = None) -> Awaitable[object]:
    return harness.engine.execute(DEV, "INPUT", harness.engine.inputs.ingest(path, expected_sha256, None))


def ingest_file(harness: EngineHarness, folder: Path, content: bytes) -> Awaitable[object]:
    path = folder / "firmware.bin"
    path.write_bytes(content)
    return ingest(harness, path)


async def reject_without_reason(harness: EngineHarness, folder: Path) -> None:
    await harness.decide(await harness.package(), OWNER, Verdict.REJECTED)


async def remove_last_approvers(harness: EngineHarness, folder: Path) -> None:
    for subject in (OWNER, SECOND):
        await harness.remove_rule(subject, Action.APPROVE, confirmed=False)


MISTAKES: dict[str, tuple[type[SealyardError], Call]] = {
    "missing file": (InvalidInputError, lambda harness, folder: ingest(harness, folder / "missing")),
    "empty file": (InvalidInputError, lambda harness, folder: ingest_file(harness, folder, b"")),
    "folder": (InvalidInputError, ingest),
    "device": (InvalidInputError, lambda harness, _: ingest(harness, Path("/dev/null"))),
    "no firmware": (InvalidInputError, lambda harness, _: harness.package(files=0)),
    "too many files": (FormatLimitError, lambda harness, _: harness.package(files=MAX_SEGMENTS + 1)),
    "no reason": (UsageError, reject_without_reason),
    "invalid period": (UsageError, lambda harness, _: harness.set_policy(approval_timeout=0)),
    "existing subject": (AlreadyExistsError, lambda harness, _: harness.add_subject(DEV)),
    "existing configuration": (AlreadyExistsError, lambda harness, _: harness.create_device()),
    "last approvers": (ConfirmationRequiredError, remove_last_approvers),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_mistake_is_no_audit_entry(harness: EngineHarness, mistake: str, tmp_path: Path) -> None:
    error_class, call = MISTAKES[mistake]
    with pytest.raises(error_class) as caught:
        await call(harness, tmp_path)
    assert type(caught.value) is error_class
    assert await list_failures(harness) == []


async def change_while_read(harness: EngineHarness, folder: Path) -> None:
    path = folder / "firmware.bin"
    path.write_bytes(bytes(100))

    def append(_: int) -> None:
        path.write_bytes(bytes(200))

    await harness.engine.execute(DEV, "INPUT", harness.engine.inputs.ingest(path, None, append))


async def expect_other_digest(harness: EngineHarness, folder: Path) -> None:
    path = folder / "firmware.bin"
    path.write_bytes(b"firmware")
    await ingest(harness, path, "0" * 64)


async def use_removed_upload(harness: EngineHarness, folder: Path) -> None:
    file = await harness.upload()
    harness.artifacts.delete_input(file.sha256)
    await harness.package(firmware=(file,))


async def use_truncated_upload(harness: EngineHarness, folder: Path) -> None:
    file = await harness.upload()
    harness.artifacts.input_path(file.sha256).write_bytes(b"truncated")
    await harness.package(firmware=(file,))


async def use_inline_content(harness: EngineHarness, folder: Path) -> None:
    file = await harness.upload()
    await harness.package(firmware=(InputFile(name="a.bin", size=file.size, sha256=file.sha256, inline="YQ=="),))


MISMATCHES: dict[str, Call] = {
    "wrong digest": expect_other_digest,
    "changed while read": change_while_read,
    "removed upload": use_removed_upload,
    "truncated upload": use_truncated_upload,
    "inline content": use_inline_content,
}


@pytest.mark.parametrize("mismatch", MISMATCHES)
async def test_input_mismatch_is_audit_entry(harness: EngineHarness, mismatch: str, tmp_path: Path) -> None:
    with pytest.raises(InputMismatchError) as caught:
        await MISMATCHES[mismatch](harness, tmp_path)
    (entry,) = await list_failures(harness)
    assert (entry.author, entry.code, entry.message) == (DEV, "input-mismatch", caught.value.message)


async def test_mistake_without_permission_is_audit_entry(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        await harness.execute(DEV, harness.engine.access.add_subject(DEV, OWNER, ""))
    assert [entry.code for entry in await harness.audit_entries(AuditAction.REFUSED)] == ["not-allowed"]


async def list_failures(harness: EngineHarness) -> list[AuditEntry]:
    failures = (AuditAction.FAILED, AuditAction.REFUSED)
    return [entry for entry in await harness.audit_entries() if entry.change in failures]
