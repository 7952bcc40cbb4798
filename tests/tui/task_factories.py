"""Factories of tasks and their parts, for tests of functions that need no engine."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import msgspec

from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.approval import approval_digest
from sealyard.model.device_configs import DeviceConfig, EncryptionKey, SigningKey
from sealyard.model.tasks import (
    Decision,
    InputFile,
    Result,
    ResultState,
    StatusChange,
    Subtask,
    Task,
    TaskKind,
    TaskStatus,
    Verdict,
)
from tests.tui.workspace import ADMINISTRATOR, DEVELOPER, NOW, OWNER, RELEASE


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def file(name: str, size: int = 4096) -> InputFile:
    return InputFile(name=name, size=size, sha256=sha(name))


def device(config_id: str = "gw", name: str = "gateway", version: int = 2, **changes: Any) -> DeviceConfig:
    config = DeviceConfig(
        id=config_id,
        version=version,
        name=name,
        encryption_keys=(
            EncryptionKey(
                algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, uri=f"local:{name}-encryption", version=1
            ),
        ),
        signing_keys=(SigningKey(algorithm=SigningAlgorithm.ECC_NIST_P256, uri=f"local:{name}-signing", version=1),),
        format="se-1",
        approvals_required=1,
        link_ttl_seconds=24 * 3600,
        retention_seconds=30 * 24 * 3600,
        created_by=ADMINISTRATOR,
        created_at=NOW - timedelta(days=20),
    )
    return msgspec.structs.replace(config, **changes)


def task(task_id: str, status: TaskStatus = TaskStatus.WAITING, **changes: Any) -> Task:
    """Return a package of two firmware files and one metadata file, requested half an hour ago."""
    config = changes.pop("configuration", None) or device()
    created_at = changes.pop("created_at", NOW - timedelta(minutes=30))
    package = Task(
        id=task_id,
        kind=TaskKind.PACKAGING,
        status=status,
        name=f"release {task_id}",
        config_id=config.id,
        config_name=config.name,
        config_version=config.version,
        created_by=DEVELOPER,
        created_at=created_at,
        updated_at=created_at,
        inputs=(file("bootloader.bin", 65536), file("application.bin", 1048576)),
        metadata=(file("release.json", len(RELEASE)),),
        content_type="firmware",
        format="se-1",
        encryption_key=config.encryption,
        signing_key=config.signing,
        approvals_required=1,
        approval_expires_at=NOW + timedelta(days=6),
        subtasks=(
            Subtask(id=f"{task_id}.1", kind=TaskKind.ENCRYPTION, status=TaskStatus.CREATED, name="bootloader.bin"),
            Subtask(id=f"{task_id}.2", kind=TaskKind.ENCRYPTION, status=TaskStatus.CREATED, name="application.bin"),
            Subtask(id=f"{task_id}.3", kind=TaskKind.SIGNING, status=TaskStatus.WAITING, name="header"),
        ),
        history=(StatusChange(status=TaskStatus.CREATED, at=created_at),),
    )
    package = msgspec.structs.replace(package, **changes)
    return msgspec.structs.replace(package, approval_digest=approval_digest(package))


def result(state: ResultState = ResultState.AVAILABLE, **changes: Any) -> Result:
    available = Result(
        state=state,
        file_name="gateway-release.se-1",
        link="/r/1",
        expires_at=NOW + timedelta(hours=20),
        retained_until=NOW + timedelta(days=29),
        sha256=sha("container"),
        size=1114700,
    )
    return msgspec.structs.replace(available, **changes)


def decision(by: str = OWNER, verdict: Verdict = Verdict.APPROVED, **changes: Any) -> Decision:
    approval = Decision(by=by, verdict=verdict, at=NOW - timedelta(minutes=10), digest=sha("digest"))
    return msgspec.structs.replace(approval, **changes)
