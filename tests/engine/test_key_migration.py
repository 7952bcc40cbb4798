"""Tests of workspaces of earlier versions: no MACs in the store, and keys of links and secrets in files."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from sealyard.engine import key_migration
from sealyard.engine.access.otp import otp_context
from sealyard.engine.notifications.outbox import PASSWORD_CONTEXT, address_context
from sealyard.engine.state.links import DownloadLinks
from sealyard.engine.state.open_store import open_store
from sealyard.engine.state.secret_box import SecretBox
from sealyard.engine.state.tables import (
    NOTIFICATION_SETTINGS,
    NOTIFICATION_SETTINGS_ID,
    NOTIFICATION_TARGETS,
    ONE_TIME_PASSWORDS,
    TASKS,
    WEBHOOKS,
    encode_document,
)
from sealyard.engine.webhooks.outbox import secret_context
from sealyard.engine.workspace import load_metadata
from sealyard.model.audit import AuditAction
from sealyard.model.errors import KeyStoreCorruptedError, PermissionDeniedError, StorageError, StoreCorruptedError
from sealyard.model.tasks import Task
from tests.support.authenticator import Authenticator
from tests.support.engine_harness import DEV, OWNER, SECOND, EngineHarness
from tests.support.fake_bus import FakeBus
from tests.support.legacy_store import write_legacy_store
from tests.support.notification_harness import MAIL_SERVER, add_target, set_settings
from tests.support.otp import enroll, start_enrollment, use_code
from tests.support.webhook_harness import add_webhook

pytestmark = [pytest.mark.anyio, pytest.mark.file_store]

FORMER_KEY, FORMER_LINK_KEY = b"s" * 32, b"l" * 32
CONTENT = b"a container"
URL = "https://example.org/hook"


class LegacyWorkspace:
    """A closed workspace as an earlier version has left it, with secrets of each kind and a finished package."""

    def __init__(self, harness: EngineHarness) -> None:
        self.harness = harness
        self.task_id = ""
        self.former_link = ""
        self.webhook_id = ""
        self.target_id = ""
        self.authenticator: Authenticator

    async def write(self) -> None:
        harness = self.harness
        self.task_id = (await harness.done_package(CONTENT)).id
        self.webhook_id = (await add_webhook(harness, URL)).webhook.id
        self.target_id = (await add_target(harness, OWNER)).id
        mail_server = msgspec.structs.replace(MAIL_SERVER, user_name="sealyard")
        await set_settings(harness, mail_server=mail_server, password="mail password")
        self.authenticator = await enroll(harness, OWNER)
        await start_enrollment(harness, SECOND)
        await self._use_former_keys()
        await harness.close()
        paths = harness.paths
        paths.link_key.write_bytes(FORMER_LINK_KEY)
        paths.secrets_key.write_bytes(FORMER_KEY)
        write_legacy_store(paths.store)
        harness.shelf.store_generation = None

    async def _use_former_keys(self) -> None:
        repository = self.harness.engine.repository
        unit = repository.begin()
        for webhook in repository.list_all(WEBHOOKS):
            secret = self._encrypt(webhook.secret, secret_context(webhook.webhook.id))
            unit.put(WEBHOOKS, webhook.webhook.id, msgspec.structs.replace(webhook, secret=secret))
        for target in repository.list_all(NOTIFICATION_TARGETS):
            address = self._encrypt(target.address, address_context(target.target.id))
            unit.put(NOTIFICATION_TARGETS, target.target.id, msgspec.structs.replace(target, address=address))
        for subject, field in ((OWNER, "secret"), (SECOND, "pending")):
            record = repository.get(ONE_TIME_PASSWORDS, subject)
            assert record is not None
            encrypted_secret = self._encrypt(getattr(record, field), otp_context(subject))
            unit.put(ONE_TIME_PASSWORDS, subject, msgspec.structs.replace(record, **{field: encrypted_secret}))
        settings = repository.notification_settings()
        assert settings.password is not None
        password = self._encrypt(settings.password, PASSWORD_CONTEXT)
        unit.put(NOTIFICATION_SETTINGS, NOTIFICATION_SETTINGS_ID, msgspec.structs.replace(settings, password=password))
        task = repository.task(self.task_id)
        assert task.result is not None
        assert task.result.expires_at is not None
        self.former_link = DownloadLinks("w1", FORMER_LINK_KEY).sign(task.id, task.result.expires_at)
        signed_task = msgspec.structs.replace(task, result=msgspec.structs.replace(task.result, link=self.former_link))
        unit.puts.append((TASKS.name, task.id, encode_document(signed_task)))
        await unit.commit()

    def _encrypt(self, encrypted_secret: str, context: str) -> str:
        secret = SecretBox(self.harness.shelf.engine_keys.secrets_key).decrypt(encrypted_secret, context)
        return SecretBox(FORMER_KEY).encrypt(secret, context)

    async def require_migrated(self) -> None:
        """Check that everything works under the derived keys, and that the former ones are gone."""
        harness = self.harness
        repository = harness.engine.repository
        assert not harness.paths.link_key.exists()
        assert not harness.paths.secrets_key.exists()
        box = SecretBox(harness.shelf.engine_keys.secrets_key)
        webhook, target = (
            repository.get(WEBHOOKS, self.webhook_id),
            repository.get(NOTIFICATION_TARGETS, self.target_id),
        )
        assert webhook is not None
        assert target is not None
        assert len(box.decrypt(webhook.secret, secret_context(self.webhook_id))) == 32
        assert box.decrypt(target.address, address_context(self.target_id))
        password = repository.notification_settings().password
        assert password is not None
        assert box.decrypt(password, PASSWORD_CONTEXT) == b"mail password"
        pending = repository.get(ONE_TIME_PASSWORDS, SECOND)
        assert pending is not None
        assert pending.pending is not None
        assert box.decrypt(pending.pending, otp_context(SECOND))
        await use_code(harness, OWNER, self.authenticator.code(harness.clock.now()))
        chunks = [chunk async for chunk in harness.engine.delivery.download(DEV, self.task_id, 0)]
        assert b"".join(chunks) == CONTENT
        with pytest.raises(PermissionDeniedError):
            harness.engine.delivery.resolve_link(self.former_link)

    async def migration_messages(self) -> list[str]:
        entries = await self.harness.audit_entries(AuditAction.UPDATED)
        return [entry.message for entry in entries if "earlier version" in entry.message]

    @property
    def store_format(self) -> set[bytes]:
        """The first bytes of the snapshot after its checksum: a JSON object has no MAC before it."""
        return {path.read_bytes()[9:10] for path in self.harness.paths.store.glob("snapshot-*.log")}


@pytest.fixture
async def legacy(harness: EngineHarness) -> LegacyWorkspace:
    workspace = LegacyWorkspace(harness)
    await workspace.write()
    assert workspace.store_format == {b"{"}
    return workspace


async def test_workspace_is_migrated_once(legacy: LegacyWorkspace) -> None:
    await legacy.harness.open()
    await legacy.require_migrated()
    assert legacy.store_format != {b"{"}
    [message] = await legacy.migration_messages()
    assert message == (
        "workspace of an earlier version migrated: the store is authenticated, 5 secrets encrypted again, earlier"
        " download links ended"
    )
    await legacy.harness.reopen()
    assert await legacy.migration_messages() == [message]
    legacy.harness.clock.advance(minutes=5)
    await legacy.require_migrated()


async def test_kill_after_store_migration_is_repaired(legacy: LegacyWorkspace) -> None:
    """The store has MACs, but the process was killed before anything else was migrated."""
    harness = legacy.harness
    store, _ = await open_store(harness.paths, load_metadata(harness.paths), FakeBus(harness.shelf, harness.clock))
    assert store.was_migrated
    store.close()
    await harness.open()
    await legacy.require_migrated()
    assert len(await legacy.migration_messages()) == 1


async def test_kill_before_generation_is_recorded_is_repaired(legacy: LegacyWorkspace) -> None:
    harness = legacy.harness
    store, _ = await open_store(harness.paths, load_metadata(harness.paths), FakeBus(harness.shelf, harness.clock))
    store.close()
    harness.shelf.store_generation = None
    await harness.open()
    await legacy.require_migrated()


async def test_kill_before_key_files_are_removed_is_repaired(
    legacy: LegacyWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: list[Path]) -> None:
        raise StorageError("The disk is read-only.")

    with monkeypatch.context() as patch:
        patch.setattr(key_migration, "_remove_key_files", fail)
        with pytest.raises(StorageError):
            await legacy.harness.open()
        await legacy.harness.close()
    assert legacy.harness.paths.secrets_key.exists()
    await legacy.harness.open()
    await legacy.require_migrated()
    assert [message.count(" 0 secrets") for message in await legacy.migration_messages()] == [0, 1]


async def test_kill_between_key_files_is_repaired(legacy: LegacyWorkspace) -> None:
    legacy.harness.paths.link_key.unlink()
    await legacy.harness.open()
    assert not legacy.harness.paths.secrets_key.exists()


@pytest.mark.parametrize("content", [None, b"", b"x" * 31, b"x" * 32])
async def test_secrets_under_lost_key_are_reported_when_used(legacy: LegacyWorkspace, content: bytes | None) -> None:
    harness = legacy.harness
    if content is None:
        harness.paths.secrets_key.unlink()
    else:
        harness.paths.secrets_key.write_bytes(content)
    await harness.open()
    assert not harness.paths.secrets_key.exists()
    with pytest.raises(KeyStoreCorruptedError, match="Cannot decrypt"):
        await use_code(harness, OWNER, legacy.authenticator.code(harness.clock.now()))


async def test_legacy_store_is_refused_after_migration(legacy: LegacyWorkspace) -> None:
    harness = legacy.harness
    await harness.open()
    await harness.close()
    write_legacy_store(harness.paths.store)
    with pytest.raises(StoreCorruptedError, match="has no MACs"):
        await harness.open()


async def test_link_expiry_is_kept(legacy: LegacyWorkspace) -> None:
    await legacy.harness.open()
    task: Task = legacy.harness.task(legacy.task_id)
    assert task.result is not None
    assert task.result.link is not None
    assert task.result.link.partition("&")[0] == legacy.former_link.partition("&")[0]
    assert task.result.link != legacy.former_link
