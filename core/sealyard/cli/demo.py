"""`sealyard demo`: a throw-away workspace, and the main job on real files of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.cli import front
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.client import profiles
from sealyard.client.log import log_to_file
from sealyard.client.profiles import Profile, ProfileFile
from sealyard.keys.passphrase import VARIABLE as PASSPHRASE_VARIABLE
from sealyard.model.access import Action
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.errors import NotAllowedError, SealyardError, TaskFailedError
from sealyard.model.requests import DeviceRequest, PackageRequest
from sealyard.model.tasks import Task, TaskStatus, Verdict
from sealyard.model.wording import size_text
from sealyard.model.workspace import KeyStore, Places

if TYPE_CHECKING:
    from sealyard.client.embedded import EmbeddedClient

ADMINISTRATOR = "USER:administrator"
DEVELOPER = "USER:developer"
OWNER = "USER:owner"
AUDITOR = "USER:auditor"
DEVICE = "demo-gateway"


def run(ctx: Context) -> int:
    """With --headless the whole line; without, the application on the workspace."""
    with _throw_away(keep=ctx.args.keep) as root:
        workspace = root / "workspace"
        passphrase = secrets.token_urlsafe(24)
        asyncio.run(_found(workspace, passphrase))
        code = _headless(ctx, root, passphrase) if ctx.args.headless else _application(workspace, passphrase)
        if ctx.args.keep:
            ctx.out.note(f"Kept: {root}. Its key store closed with this process; reading still works.")
    return code


@contextlib.contextmanager
def _throw_away(*, keep: bool) -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="sealyard-demo-"))
    try:
        yield root
    finally:
        if not keep:
            shutil.rmtree(root, ignore_errors=True)


def _application(workspace: Path, passphrase: str) -> int:
    """The application reads its workspace, who one is and the passphrase from this process's environment."""
    os.environ[profiles.WORKSPACE_VARIABLE] = str(workspace)
    os.environ[profiles.PROFILE_VARIABLE] = "developer"
    os.environ[PASSPHRASE_VARIABLE] = passphrase
    return front.run_front()


# ---- the workspace


async def _found(workspace: Path, passphrase: str) -> None:
    from sealyard.client.embedded import EmbeddedClient
    from sealyard.engine.founding import found_workspace

    places = Places(workspace)
    await found_workspace(
        places,
        name="demo",
        administrator=ADMINISTRATOR,
        key_store=KeyStore.PASSPHRASE,
        passphrase=passphrase,
        demo=True,
    )
    log_to_file(places.engine_log)
    people = tuple(
        Profile(name=each.partition(":")[2], identity=each) for each in (ADMINISTRATOR, AUDITOR, DEVELOPER, OWNER)
    )
    profiles.write_profiles(places.profiles, ProfileFile(profiles=people, current="developer"))
    client = await EmbeddedClient.open(workspace, ADMINISTRATOR, purpose="demo", passphrase=passphrase)
    try:
        await client.add_subject(DEVELOPER, "Dana Developer")
        await client.add_subject(OWNER, "Olga Owner")
        await client.add_subject(AUDITOR, "Aki Auditor")
        await client.add_rule(AUDITOR, "RESOURCE_TYPE:AUDIT_LOG", Action.VIEW)
        await client.create_device(
            DeviceRequest(
                name=DEVICE,
                encryption=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD,
                signing=SigningAlgorithm.ECC_NIST_P256,
                use=(DEVELOPER,),
                approve=(OWNER, DEVELOPER),
                description="A gateway for the demo",
            )
        )
    finally:
        await client.close()


# ---- the whole line


def _headless(ctx: Context, root: Path, passphrase: str) -> int:
    try:
        asyncio.run(_Line(ctx, root).run(passphrase))
    except SealyardError as error:
        ctx.out.error(error)
        return ExitCode.FAILED
    return ExitCode.DONE


class _Line:
    """One walk from files on disk to a container that is opened and compared with them.

    A step that does not come out as promised raises :class:`TaskFailedError` or what went wrong.
    """

    def __init__(self, ctx: Context, root: Path) -> None:
        self._ctx = ctx
        self._root = root
        self._workspace = root / "workspace"
        self._steps: list[str] = []
        self._firmware = _real_files()
        self._metadata = root / "metadata.json"

    async def run(self, passphrase: str) -> None:
        from sealyard.client.embedded import EmbeddedClient

        client = await EmbeddedClient.open(self._workspace, ADMINISTRATOR, purpose="demo", passphrase=passphrase)
        try:
            task = await self._people_and_package(client)
        finally:
            await client.close()
        await self._verify_audit()
        self._ctx.out.result({"task": task, "steps": self._steps}, ("All as promised.",))

    async def _people_and_package(self, client: EmbeddedClient) -> Task:
        developer, owner = client.as_subject(DEVELOPER), client.as_subject(OWNER)
        task = await self._create(developer)
        await self._refuse_self_approval(developer, task)
        task = await self._approve(owner, task)
        container = await self._download(developer, task)
        key = await self._export_key(client)
        certificate = (await developer.certificate(task.id)).encode()
        self._verify(container, certificate)
        self._open_and_compare(container, certificate, key)
        return task

    async def _create(self, developer: EmbeddedClient) -> Task:
        self._metadata.write_text(_metadata(), encoding="utf-8")
        firmware = [await developer.upload(each) for each in self._firmware]
        metadata = await developer.upload(self._metadata)
        request = PackageRequest(config=DEVICE, firmware=tuple(firmware), metadata=(metadata,), name="demo 1.0.0")
        created = await developer.create_package(request)
        task = await developer.task(created.id)
        _promise(task.status is TaskStatus.WAITING, f"The task is {task.status}, not waiting for approval.")
        files = ", ".join(f"{each.name} ({size_text(each.size)})" for each in (*firmware, metadata))
        self._step(f"created    task {task.id} by {DEVELOPER}: {files}; {task.status}")
        return task

    async def _refuse_self_approval(self, developer: EmbeddedClient, task: Task) -> None:
        try:
            await developer.decide(task.id, Verdict.APPROVED)
        except NotAllowedError as refusal:
            self._step(f"refused    {DEVELOPER} approving: {refusal.message}")
            return
        raise TaskFailedError("The developer could approve a task of their own.")

    async def _approve(self, owner: EmbeddedClient, task: Task) -> Task:
        started = time.monotonic()
        await owner.decide(task.id, Verdict.APPROVED, "looked at the digests")
        self._step(f"approved   by {OWNER}, for the digest {task.approval_digest[:16]}…")
        done = await owner.wait(task.id, within=300)
        seconds = time.monotonic() - started
        _promise(done.status is TaskStatus.DONE, f"The task is {done.status}: {done.reason}")
        assert done.result is not None
        rate = size_text(int(done.total_bytes / seconds))
        self._step(
            f"done       encrypted, signed, packed and checked in {seconds:.2f} s ({rate}/s):"
            f" {done.result.size} bytes, sha256 {done.result.sha256}"
        )
        return done

    async def _download(self, developer: EmbeddedClient, task: Task) -> Path:
        from sealyard.cli.fetching import downloaded_text
        from sealyard.client.download_state import DownloadState
        from sealyard.client.downloads import Downloads

        downloads = Downloads(developer, self._root / "downloads", DownloadState(self._root / "downloads.json"))
        found = await downloads.fetch(task.id)
        self._step(f"downloaded {downloaded_text(found)}")
        return Path(found.path)

    async def _export_key(self, administrator: EmbeddedClient) -> bytes:
        """The device's key, as it would be given to the device."""
        path = await administrator.export_device_key(DEVICE, self._root / "device.key", confirmed=True)
        key = path.read_bytes()
        self._step(f"exported   the device key, {8 * len(key)} bits")
        return key

    def _verify(self, container: Path, certificate: bytes) -> None:
        from sealyard.containers.registry import container_format

        with container.open("rb") as source:
            found = container_format("se-1").verify(source, certificate)
        self._step(
            f"verified   {found.signing} by {found.certificate_subject}; {len(found.segments)} segments,"
            f" {found.metadata_length} bytes of metadata"
        )

    def _open_and_compare(self, container: Path, certificate: bytes, key: bytes) -> None:
        from sealyard.containers.registry import container_format
        from sealyard.crypto.ciphers import RawContentCipher

        with container.open("rb") as source:
            form = container_format("se-1")
            cipher = RawContentCipher(form.encryption_of(source), key)
            opened = form.open(source, certificate, cipher, self._root / "opened")
        for before, after in zip((*self._firmware, self._metadata), opened, strict=True):
            same = before.stat().st_size == after.stat().st_size and before.read_bytes() == after.read_bytes()
            _promise(same, f"{after.name} is not {before.name}.")
            self._step(f"compared   {after.name} is {before.name}, all {after.stat().st_size} bytes")

    async def _verify_audit(self) -> None:
        """By the auditor, beside whoever works; the engine sealed what it did when it closed."""
        from sealyard.client.embedded import EmbeddedClient

        auditor = await EmbeddedClient.open_reader(self._workspace, AUDITOR)
        try:
            report = await auditor.verify_audit()
        finally:
            await auditor.close()
        _promise(report.unsealed == 0, f"{report.unsealed} audit entries are not sealed.")
        self._step(f"audit      {report.size} entries fit together, the first {report.sealed_size} sealed")

    def _step(self, text: str) -> None:
        self._steps.append(text)
        self._ctx.out.step(text)


def _real_files() -> tuple[Path, Path]:
    """The interpreter itself, and the largest library that Sealyard stands on."""
    library = find_spec("cryptography.hazmat.bindings._rust")
    assert library is not None
    assert library.origin is not None
    return Path(sys.executable).resolve(), Path(library.origin)


def _metadata() -> str:
    made = {"product": DEVICE, "version": "1.0.0", "builtAt": datetime.now(UTC).isoformat(timespec="seconds")}
    return json.dumps(made, indent=2) + "\n"


def _promise(kept: bool, otherwise: str) -> None:
    if not kept:
        raise TaskFailedError(otherwise)
