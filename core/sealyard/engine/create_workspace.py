"""Making a workspace: folder, master key, audit key, and the first person with rules that stay."""

from __future__ import annotations

import asyncio
import secrets
import shutil

from sealyard.concurrency.clock import SystemClock
from sealyard.engine.engine import open_engine
from sealyard.engine.workspace import create_layout
from sealyard.model.access import parse_subject
from sealyard.model.audit import AuditAction
from sealyard.model.workspace import LAYOUT_VERSION, KeyStore, WorkspaceMetadata, WorkspacePaths


async def create_workspace(
    places: WorkspacePaths,
    *,
    name: str,
    administrator: str,
    key_store: KeyStore,
    passphrase: str | None = None,
    demo: bool = False,
) -> WorkspaceMetadata:
    """A new workspace in an empty or new folder. What fails leaves nothing behind.

    Raises :class:`WorkspaceError`, :class:`StorageError`, :class:`KeyStoreLockedError`.
    """
    file = WorkspaceMetadata(
        id=secrets.token_hex(8),
        name=name,
        format=LAYOUT_VERSION,
        demo=demo,
        key_store=key_store,
        administrator=parse_subject(administrator),
        created_at=SystemClock().now(),
    )
    create_layout(places, file)
    try:
        await _initialize(places, file, passphrase)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, places.root, ignore_errors=True)
        raise
    return file


async def _initialize(places: WorkspacePaths, file: WorkspaceMetadata, passphrase: str | None) -> None:
    engine = await open_engine(places, purpose="init", passphrase=passphrase, work=False, create=True)
    try:
        draft = engine.ledger.begin()
        draft.audit(
            file.administrator,
            AuditAction.CREATED,
            f"WORKSPACE:{file.id}",
            f"workspace {file.name}",
            {"demo": file.demo},
        )
        engine.administration.grant_initial_admin(draft, file.administrator)
        await draft.commit()
    finally:
        await engine.close()
