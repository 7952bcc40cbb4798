"""Tests of workspaces with a crypto zone: their creation, the enrollment of hosts, and the admission of the zone."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from msgspec import UNSET

from sealyard.crypto.signed_messages import MessageLabel, sign_message, verify_message
from sealyard.engine.admit_zone import admit_zone, build_enrollment
from sealyard.engine.create_workspace import create_workspace
from sealyard.engine.move_workspace import move_workspace, plan_move
from sealyard.engine.open_engine import open_engine, open_reader
from sealyard.engine.workspace import load_metadata, save_metadata
from sealyard.jobs.key_holder import KeyHolder
from sealyard.model.audit import AuditAction, AuditEntry, AuditFilter
from sealyard.model.errors import ConflictError, UsageError, WorkspaceError
from sealyard.model.moves import FOLDER, MovePlan
from sealyard.model.workspace import KeyStore, WorkspaceMetadata, WorkspacePaths
from sealyard.model.zone_codes import compute_fingerprint
from sealyard.model.zones import ZonePublicKeys
from tests.support.engine_harness import ADMIN
from tests.support.key_holders import open_key_holder, unlock
from tests.support.ministack import MiniStack
from tests.support.object_store import TestBucket, use_credentials
from tests.support.postgres import TestDatabase

pytestmark = pytest.mark.anyio

PASSPHRASE = "correct horse battery staple"
UNREACHABLE_BUS = "host=127.0.0.1 port=1 user=sealyard dbname=bus connect_timeout=2"
KEYS = ZonePublicKeys(report_key=b"r" * 32, sealing_key=b"s" * 32)
OTHER_KEYS = ZonePublicKeys(report_key=b"o" * 32, sealing_key=b"s" * 32)


async def create(
    paths: WorkspacePaths, *, artifacts: str | None, zone: str | None = "plant", bus: str | None = UNREACHABLE_BUS
) -> WorkspaceMetadata:
    return await create_workspace(
        paths,
        name="yard",
        administrator=ADMIN,
        key_store=KeyStore.PASSPHRASE,
        key_holder=unlock(PASSPHRASE),
        artifacts=artifacts,
        zone=zone,
        bus=bus,
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, ministack: MiniStack) -> Path:
    """Return the folder of a workspace with a zone whose bus database cannot be reached. Tests get copies of it."""
    folder = tmp_path_factory.mktemp("template") / "yard"
    with pytest.MonkeyPatch.context() as patch:
        use_credentials(patch)
        asyncio.run(create(WorkspacePaths(folder), artifacts=TestBucket(ministack).url))
    return folder


@pytest.fixture
def paths(template: Path, tmp_path: Path, bucket: TestBucket) -> WorkspacePaths:
    paths = WorkspacePaths(Path(shutil.copytree(template, tmp_path / "yard")))
    save_metadata(paths, msgspec.structs.replace(load_metadata(paths), artifacts=bucket.url))
    return paths


@pytest.fixture
async def key_holder(paths: WorkspacePaths) -> AsyncIterator[KeyHolder]:
    with open_key_holder(paths.root, PASSPHRASE) as key_holder:
        yield key_holder


async def read_entries(paths: WorkspacePaths) -> list[AuditEntry]:
    engine = await open_reader(paths)
    try:
        match = AuditFilter(change=AuditAction.UPDATED)
        return list((await engine.audit.page(ADMIN, match, None, 10)).entries)
    finally:
        await engine.close()


async def test_zone_is_admitted_once(paths: WorkspacePaths, key_holder: KeyHolder) -> None:
    for _ in range(2):
        await admit_zone(paths, KEYS, key_holder)
    zone = load_metadata(paths).zone
    assert zone is not UNSET
    assert (zone.name, zone.bus, zone.keys) == ("plant", UNREACHABLE_BUS, KEYS)
    (entry,) = [entry for entry in await read_entries(paths) if "admitted" in entry.message]
    assert compute_fingerprint(KEYS) in entry.message


async def test_other_keys_are_replaced_explicitly(paths: WorkspacePaths, key_holder: KeyHolder) -> None:
    await admit_zone(paths, KEYS, key_holder)
    with pytest.raises(ConflictError, match=compute_fingerprint(KEYS)):
        await admit_zone(paths, OTHER_KEYS, key_holder)
    await admit_zone(paths, OTHER_KEYS, key_holder, replace=True)
    zone = load_metadata(paths).zone
    assert zone is not UNSET
    assert zone.keys == OTHER_KEYS


async def test_zone_moves_with_its_workspace(
    paths: WorkspacePaths, key_holder: KeyHolder, database: TestDatabase
) -> None:
    await admit_zone(paths, KEYS, key_holder)
    before = load_metadata(paths)
    await move_workspace(paths, key_holder, database.connection_string)
    assert load_metadata(paths) == msgspec.structs.replace(before, database=database.connection_string)


@pytest.mark.parametrize("move", [plan_move, move_workspace])
async def test_inputs_are_not_moved_where_hosts_cannot_read(
    paths: WorkspacePaths, key_holder: KeyHolder, move: Callable[..., Awaitable[MovePlan]]
) -> None:
    before = load_metadata(paths)
    with pytest.raises(ConflictError, match="hosts of the crypto zone plant cannot read inputs in the folder"):
        await move(paths, key_holder, None, artifacts=FOLDER)
    assert load_metadata(paths) == before


async def test_enrollment_verifies_orders(paths: WorkspacePaths, key_holder: KeyHolder) -> None:
    enrollment = await build_enrollment(paths, key_holder)
    assert (enrollment.workspace_id, enrollment.zone) == (load_metadata(paths).id, "plant")
    order_key = (await key_holder.get_engine_keys()).order_key
    message = sign_message(order_key, MessageLabel.ORDER, b"an order")
    assert verify_message(enrollment.order_key, MessageLabel.ORDER, message) == b"an order"


async def test_workspace_opens_without_its_zone(paths: WorkspacePaths, key_holder: KeyHolder) -> None:
    engine = await open_engine(paths, purpose="test", key_holder=key_holder)
    try:
        health = await engine.health.health()
        (check,) = [check for check in health.checks if check.name == "zone"]
        assert health.ready
        assert "The crypto zone plant is not admitted yet." in check.warning
    finally:
        await engine.close()


async def test_zone_without_bucket_is_not_opened(paths: WorkspacePaths, key_holder: KeyHolder) -> None:
    save_metadata(paths, msgspec.structs.replace(load_metadata(paths), artifacts=UNSET))
    with pytest.raises(WorkspaceError, match="cannot read inputs in the folder"):
        await open_engine(paths, purpose="test", key_holder=key_holder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bus": None}, "needs a name and a bus database"),
        ({"zone": None}, "needs a name and a bus database"),
        ({"artifacts": None}, "cannot read inputs in the folder"),
        ({"zone": "Plant 1"}, "Invalid zone name"),
        ({"bus": "host=db password=secret"}, "password"),
    ],
    ids=["zone-only", "bus-only", "no-bucket", "name", "password"],
)
async def test_incomplete_zone_is_rejected(
    tmp_path: Path, bucket: TestBucket, options: dict[str, str | None], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        await create(WorkspacePaths(tmp_path / "yard"), **{"artifacts": bucket.url, **options})
    assert not (tmp_path / "yard").exists()


async def test_workspace_without_zone_admits_none(tmp_path: Path, bucket: TestBucket) -> None:
    paths = WorkspacePaths(tmp_path / "yard")
    await create(paths, artifacts=bucket.url, zone=None, bus=None)
    with open_key_holder(paths.root, PASSPHRASE) as key_holder:
        with pytest.raises(ConflictError, match="has no crypto zone"):
            await admit_zone(paths, KEYS, key_holder)
        with pytest.raises(ConflictError, match="has no crypto zone"):
            await build_enrollment(paths, key_holder)
