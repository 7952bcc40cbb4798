"""Making a workspace: folder, master key, audit key, and the first person with rules that stay."""

from __future__ import annotations

import asyncio
import secrets
import shutil

from sealyard.engine.clock import SystemClock
from sealyard.engine.engine import open_engine
from sealyard.engine.workspace import make_workspace
from sealyard.model.access import parse_subject
from sealyard.model.audit import AuditChange
from sealyard.model.workspace import FORMAT, KeyStore, Places, WorkspaceFile


async def found_workspace(
    places: Places,
    *,
    name: str,
    administrator: str,
    key_store: KeyStore,
    passphrase: str | None = None,
    demo: bool = False,
) -> WorkspaceFile:
    """A new workspace in an empty or new folder. What fails leaves nothing behind.

    Raises :class:`WorkspaceError`, :class:`StorageError`, :class:`KeyStoreLockedError`.
    """
    file = WorkspaceFile(
        id=secrets.token_hex(8),
        name=name,
        format=FORMAT,
        demo=demo,
        key_store=key_store,
        administrator=parse_subject(administrator),
        created_at=SystemClock().now(),
    )
    make_workspace(places, file)
    try:
        await _settle(places, file, passphrase)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, places.root, ignore_errors=True)
        raise
    return file


async def _settle(places: Places, file: WorkspaceFile, passphrase: str | None) -> None:
    engine = await open_engine(places, purpose="init", passphrase=passphrase, work=False, create=True)
    try:
        draft = engine.ledger.draft()
        draft.audit(
            file.administrator,
            AuditChange.CREATED,
            f"WORKSPACE:{file.id}",
            f"workspace {file.name}",
            {"demo": file.demo},
        )
        engine.administration.found(draft, file.administrator)
        await draft.commit()
    finally:
        await engine.close()
