"""Temporary demo workspace with subjects, configurations and tasks in different states."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.client.config.key_holder import KeyHolder, KeyHolderFactory, random_key_holder
from sealyard.client.config.profiles import Profile, ProfileFile, write_profiles
from sealyard.client.log import log_to_file
from sealyard.model.access import Action, ResourceType, resource_type_uri
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.base import FrozenStruct
from sealyard.model.key_holder_messages import KeyStoreLocation
from sealyard.model.requests import (
    DeviceRequest,
    DeviceUpdate,
    EncryptionKeyRequest,
    EncryptionRequest,
    PackageRequest,
    SigningKeyRequest,
    SigningRequest,
)
from sealyard.model.tasks import InputFile, Task, Verdict
from sealyard.model.workspace import KeyStore, WorkspacePaths

if TYPE_CHECKING:
    from sealyard.client.engine_handle import EngineHandle

ADMINISTRATOR = "USER:administrator"
DEVELOPER = "USER:developer"
OWNER = "USER:owner"
AUDITOR = "USER:auditor"
GATEWAY = "demo-gateway"
SENSOR = "demo-sensor"

DAY_SECONDS = 24 * 3600
SAMPLE_BYTES = 96 * 1024
"""Size of each demo firmware file."""


class DemoWorkspace(FrozenStruct, frozen=True, kw_only=True):
    """The workspace folder and download folder of a demo, and its key holder, which the caller closes.

    Only the key holder knows the passphrase of the key store.
    """

    folder: Path
    downloads: Path
    key_holder: KeyHolder


@contextlib.contextmanager
def temporary_dir(*, keep: bool = False) -> Iterator[Path]:
    """Create a temporary folder, and delete it on exit unless ``keep`` is set."""
    root = Path(tempfile.mkdtemp(prefix="sealyard-demo-"))
    try:
        yield root
    finally:
        if not keep:
            shutil.rmtree(root, ignore_errors=True)


async def create_demo(root: Path, start_key_holder: KeyHolderFactory = random_key_holder) -> DemoWorkspace:
    """Create a demo workspace in ``root``, with a random passphrase, four subjects and one device configuration."""
    from sealyard.client.engine_handle import EngineHandle
    from sealyard.engine.create_workspace import create_workspace

    key_holders: list[KeyHolder] = []

    def start(location: KeyStoreLocation) -> KeyHolder:
        key_holders.append(start_key_holder(location))
        return key_holders[0]

    paths = WorkspacePaths(root / "workspace")
    await create_workspace(
        paths,
        name="demo",
        administrator=ADMINISTRATOR,
        key_store=KeyStore.PASSPHRASE,
        key_holder=start,
        close_key_holder=False,
        demo=True,
    )
    demo = DemoWorkspace(folder=paths.root, downloads=root / "downloads", key_holder=key_holders[0])
    profiles = tuple(
        Profile(name=subject.partition(":")[2], identity=subject, downloads=str(demo.downloads))
        for subject in (ADMINISTRATOR, AUDITOR, DEVELOPER, OWNER)
    )
    write_profiles(paths.profiles, ProfileFile(profiles=profiles, current="developer"))
    engine = await EngineHandle.open(demo.folder, purpose="demo", key_holder=demo.key_holder, work=False)
    try:
        client = engine.client(ADMINISTRATOR)
        await client.add_subject(DEVELOPER, "Dana Developer")
        await client.add_subject(OWNER, "Olga Owner")
        await client.add_subject(AUDITOR, "Aki Auditor")
        await client.add_rule(AUDITOR, resource_type_uri(ResourceType.AUDIT_LOG), Action.VIEW)
        await client.create_device(
            DeviceRequest(
                name=GATEWAY,
                encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
                signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ECC_NIST_P256),),
                use=(DEVELOPER,),
                approve=(OWNER, DEVELOPER),
                description="Demo gateway",
            )
        )
    finally:
        await engine.close()
    return demo


async def create_populated_demo(root: Path, start_key_holder: KeyHolderFactory = random_key_holder) -> DemoWorkspace:
    """Create a demo workspace with tasks in different states. The workspace is not locked afterwards."""
    from sealyard.client.engine_handle import EngineHandle

    demo = await create_demo(root, start_key_holder)
    log_to_file(WorkspacePaths(demo.folder).engine_log)
    engine = await EngineHandle.open(demo.folder, purpose="demo", key_holder=demo.key_holder)
    try:
        await populate(engine)
    finally:
        await engine.close()
    return demo


async def populate(engine: EngineHandle) -> None:
    """Create tasks in different states from real files.

    The download links of the configuration ``demo-sensor`` expire after one second, so that the tasks soon include one
    with an expired link and one whose artifact was deleted at the end of its retention period.
    """
    with tempfile.TemporaryDirectory(prefix="sealyard-demo-") as folder:
        await _DemoData(engine, Path(folder)).build()


class _DemoData:
    """Creates the demo's tasks on behalf of its subjects."""

    def __init__(self, engine: EngineHandle, folder: Path) -> None:
        self._administrator = engine.client(ADMINISTRATOR)
        self._developer = engine.client(DEVELOPER)
        self._owner = engine.client(OWNER)
        self._folder = folder
        self._samples = _read_samples()

    async def build(self) -> None:
        short_lived = await self._create_short_lived_result()
        tasks = await asyncio.gather(
            self._approve(await self._create_package(GATEWAY, "gateway", "1.4.0")),
            self._approve(await self._create_package(SENSOR, "sensor", "0.9.2")),
            self._create_signature(),
            self._create_encryption(GATEWAY, "gateway-assets.bin"),
            self._create_lost_input(),
        )
        await asyncio.gather(*(self._owner.wait(task.id) for task in (short_lived, *tasks)))
        rejected = await self._create_package(GATEWAY, "gateway", "1.5.0-rc1")
        await self._owner.decide(rejected.id, Verdict.REJECTED, "Release candidates are not for production devices.")
        withdrawn = await self._create_package(SENSOR, "sensor", "0.9.3")
        await self._developer.withdraw(withdrawn.id, "Built from the wrong branch.")
        await self._create_package(SENSOR, "sensor", "0.9.4")
        await self._create_package(GATEWAY, "gateway", "1.5.0")

    async def _create_short_lived_result(self) -> Task:
        """Create the configuration ``demo-sensor`` and a task whose result is retained for one second.

        Only the first version of the configuration has this retention period. The second version retains results for a
        day, but still has links that expire after a second.
        """
        await self._administrator.create_device(
            DeviceRequest(
                name=SENSOR,
                encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES128_CTR_NO_PAD),),
                signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519),),
                use=(DEVELOPER,),
                approve=(OWNER, DEVELOPER),
                link_ttl_seconds=1,
                retention_seconds=1,
                description="Demo sensor with download links that expire after one second",
            )
        )
        task = await self._create_encryption(SENSOR, "sensor-calibration.bin")
        await self._administrator.update_device(DeviceUpdate(config=SENSOR, retention_seconds=DAY_SECONDS))
        return task

    async def _create_package(self, device: str, product: str, version: str) -> Task:
        build_info = {
            "product": product,
            "version": version,
            "builtAt": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        firmware = (
            await self._upload_file(f"{product}-boot-{version}.bin"),
            await self._upload_file(f"{product}-{version}.bin"),
        )
        metadata = await self._upload_file(
            f"{product}-{version}.json", (json.dumps(build_info, indent=2) + "\n").encode()
        )
        request = PackageRequest(config=device, firmware=firmware, metadata=(metadata,), name=f"{product} {version}")
        return await self._developer.create_package(request)

    async def _approve(self, task: Task) -> Task:
        return await self._owner.decide(task.id, Verdict.APPROVED, "Tested in the lab.")

    async def _create_encryption(self, device: str, name: str) -> Task:
        request = EncryptionRequest(config=device, file=await self._upload_file(name), name=name)
        return await self._developer.create_encryption(request)

    async def _create_signature(self) -> Task:
        message = b"manifest of gateway 1.4.0\n"
        request = SigningRequest(
            config=GATEWAY, message=message, file_name="manifest.txt", name="gateway 1.4.0 manifest"
        )
        return await self._approve(await self._developer.create_signing(request))

    async def _create_lost_input(self) -> Task:
        """Create a package task whose firmware disappears from the store before it is approved."""
        from sealyard.storage.artifacts import FileArtifacts

        task = await self._create_package(GATEWAY, "gateway", "1.3.9")
        artifacts = FileArtifacts(WorkspacePaths(Path((await self._developer.workspace()).location)).artifacts)
        for file in task.inputs:
            await asyncio.to_thread(artifacts.delete_input, file.sha256)
        return await self._approve(task)

    async def _upload_file(self, name: str, content: bytes | None = None) -> InputFile:
        path = self._folder / name
        path.write_bytes(next(self._samples) if content is None else content)
        return await self._developer.upload(path)


def _read_samples() -> Iterator[bytes]:
    """Yield chunks of real machine code, read from the largest library that Sealyard depends on."""
    library = find_spec("cryptography.hazmat.bindings._rust")
    assert library is not None
    assert library.origin is not None
    with Path(library.origin).open("rb") as library_file:
        while sample := library_file.read(SAMPLE_BYTES):
            yield sample
