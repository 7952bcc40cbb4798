"""Migrate a workspace of an earlier version, which had keys in files, to the keys derived from the master key.

Earlier versions stored the key of download links in ``keys/links`` and the key of encrypted secrets in
``keys/secrets``, where each program with access to the folder could read them. At the first start, the secrets are
encrypted again and the stored links are signed again, in one commit with the audit entry; then the key files are
removed. If the process is killed in between, the next start repeats the steps: secrets under the derived key stay as
they are. Links that were given to others before the migration have ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.access.otp import otp_context
from sealyard.engine.notifications.outbox import PASSWORD_CONTEXT, address_context
from sealyard.engine.state.links import DownloadLinks
from sealyard.engine.state.repository import Repository
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
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.engine.webhooks.outbox import secret_context
from sealyard.fs.atomic import storage_error, sync_folder
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.audit import AuditAction
from sealyard.model.errors import KeyStoreCorruptedError
from sealyard.model.formatting import format_count
from sealyard.model.tasks import Task
from sealyard.model.workspace import WorkspaceMetadata, WorkspacePaths

_KEY_LENGTH = 32

log = logging.getLogger(__name__)


class KeyMigration:
    """Migrates the keys once, when the engine starts, before anything uses them."""

    def __init__(
        self,
        repository: Repository,
        metadata: WorkspaceMetadata,
        paths: WorkspacePaths,
        links: DownloadLinks,
        secret_box: SecretBox,
    ) -> None:
        self._repository = repository
        self._metadata = metadata
        self._paths = paths
        self._links = links
        self._secret_box = secret_box
        self._reencrypted_count = 0

    async def run(self) -> None:
        """Migrate the workspace if an earlier version wrote its store or left key files.

        Raises :class:`StorageError` if the disk refuses an operation.
        """
        key_files = [path for path in (self._paths.link_key, self._paths.secrets_key) if path.exists()]
        if not key_files and not self._repository.store.was_migrated:
            return
        unit_of_work = self._repository.begin()
        self._reencrypt_secrets(unit_of_work)
        if self._paths.link_key in key_files:
            self._sign_links_again(unit_of_work)
        unit_of_work.audit(
            SYSTEM_SUBJECT,
            AuditAction.UPDATED,
            f"WORKSPACE:{self._metadata.id}",
            "workspace of an earlier version migrated: the store is authenticated,"
            f" {format_count(self._reencrypted_count, 'secret')} encrypted again, earlier download links ended",
        )
        await unit_of_work.commit()
        await run_uncancellable(partial(_remove_key_files, key_files))

    def _reencrypt_secrets(self, unit_of_work: UnitOfWork) -> None:
        reencrypt = self._build_reencryption(self._paths.secrets_key)
        for webhook in self._repository.list_all(WEBHOOKS):
            secret = reencrypt(webhook.secret, secret_context(webhook.webhook.id))
            unit_of_work.put(WEBHOOKS, webhook.webhook.id, msgspec.structs.replace(webhook, secret=secret))
        for target in self._repository.list_all(NOTIFICATION_TARGETS):
            address = reencrypt(target.address, address_context(target.target.id))
            unit_of_work.put(NOTIFICATION_TARGETS, target.target.id, msgspec.structs.replace(target, address=address))
        for subject in self._repository.store.ids(ONE_TIME_PASSWORDS.name, ""):
            record = self._repository.get(ONE_TIME_PASSWORDS, subject)
            assert record is not None
            fields = {
                name: reencrypt(encrypted_secret, otp_context(subject))
                for name, encrypted_secret in (("secret", record.secret), ("pending", record.pending))
                if encrypted_secret is not None
            }
            unit_of_work.put(ONE_TIME_PASSWORDS, subject, msgspec.structs.replace(record, **fields))
        settings = self._repository.notification_settings()
        if settings.password is not None:
            settings = msgspec.structs.replace(settings, password=reencrypt(settings.password, PASSWORD_CONTEXT))
            unit_of_work.put(NOTIFICATION_SETTINGS, NOTIFICATION_SETTINGS_ID, settings)

    def _build_reencryption(self, key_file: Path) -> Callable[[str, str], str]:
        """Return a function that encrypts a secret under the derived key, if it is under the key in the file.

        A secret under neither key stays as it is; its use reports it. So does a secret whose key file is damaged.
        """
        key = key_file.read_bytes() if key_file.exists() else b""
        former_box = SecretBox(key) if len(key) == _KEY_LENGTH else None

        def reencrypt(encrypted_secret: str, context: str) -> str:
            if former_box is None:
                return encrypted_secret
            try:
                secret = former_box.decrypt(encrypted_secret, context)
            except KeyStoreCorruptedError:
                return encrypted_secret
            self._reencrypted_count += 1
            return self._secret_box.encrypt(secret, context)

        return reencrypt

    def _sign_links_again(self, unit_of_work: UnitOfWork) -> None:
        """Sign the links that are stored in tasks, so that they remain usable until they expire."""
        for task in self._repository.list_all(TASKS):
            if (signed_task := self._with_signed_link(task)) is not None:
                # Not a change of the task's life cycle, and no client can be connected yet that has to be notified.
                unit_of_work.puts.append((TASKS.name, task.id, encode_document(signed_task)))

    def _with_signed_link(self, task: Task) -> Task | None:
        if task.result is None or task.result.link is None or task.result.expires_at is None:
            return None
        link = self._links.sign(task.id, task.result.expires_at)
        return msgspec.structs.replace(task, result=msgspec.structs.replace(task.result, link=link))


def _remove_key_files(paths: list[Path]) -> None:
    try:
        for path in paths:
            path.unlink(missing_ok=True)
            sync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, "removing the former keys") from error
