"""`sealyard demo`: a throw-away workspace, and the main job on real files of this machine."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.cli import app_launcher as front
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.client.config.profiles import PROFILE_VARIABLE, WORKSPACE_VARIABLE
from sealyard.client.demo import (
    ADMINISTRATOR,
    AUDITOR,
    DEVELOPER,
    GATEWAY,
    OWNER,
    DemoWorkspace,
    create_demo,
    create_populated_demo,
    temporary_dir,
)
from sealyard.client.log import log_to_file
from sealyard.keys.passphrase import VARIABLE as PASSPHRASE_VARIABLE
from sealyard.model.errors import PermissionDeniedError, SealyardError, TaskFailedError
from sealyard.model.formatting import format_size
from sealyard.model.requests import PackageRequest
from sealyard.model.tasks import Task, TaskStatus, Verdict
from sealyard.model.workspace import WorkspacePaths

if TYPE_CHECKING:
    from sealyard.client.embedded import EmbeddedClient
    from sealyard.client.engine_handle import EngineHandle


def run(ctx: Context) -> int:
    """With --headless the whole line; without, the application on the workspace."""
    headless = ctx.args.headless
    if not headless:
        ctx.out.warn("Making a demo workspace…")
    with temporary_dir(keep=ctx.args.keep) as root:
        place = asyncio.run(_create(root, populated=not headless))
        code = _run_headless(ctx, root, place) if headless else _run_application(ctx, place)
        if ctx.args.keep:
            ctx.out.warn(f"Kept: {root}. Its key store closed with this process; reading still works.")
    return code


async def _create(root: Path, *, populated: bool) -> DemoWorkspace:
    if populated:
        return await create_populated_demo(root)
    place = await create_demo(root)
    log_to_file(WorkspacePaths(place.folder).engine_log)
    return place


def _run_application(ctx: Context, place: DemoWorkspace) -> int:
    """The application reads its workspace, who one is and the passphrase from this process's environment."""
    os.environ[WORKSPACE_VARIABLE] = str(place.folder)
    os.environ[PROFILE_VARIABLE] = "developer"
    os.environ[PASSPHRASE_VARIABLE] = place.passphrase
    return front.launch_app(ctx.args)


# ---- the whole line


def _run_headless(ctx: Context, root: Path, place: DemoWorkspace) -> int:
    try:
        asyncio.run(_DemoRun(ctx, root, place).run())
    except SealyardError as error:
        ctx.out.error(error)
        return ExitCode.FAILED
    return ExitCode.OK


class _DemoRun:
    """One walk from files on disk to a container that is opened and compared with them.

    A step that does not come out as promised raises :class:`TaskFailedError` or what went wrong.
    """

    def __init__(self, ctx: Context, root: Path, place: DemoWorkspace) -> None:
        self._ctx = ctx
        self._root = root
        self._place = place
        self._steps: list[str] = []
        self._firmware = _real_files()
        self._metadata = root / "metadata.json"

    async def run(self) -> None:
        from sealyard.client.engine_handle import EngineHandle

        engine = await EngineHandle.open(self._place.folder, purpose="demo", passphrase=self._place.passphrase)
        try:
            task = await self._people_and_package(engine)
        finally:
            await engine.close()
        await self._verify_audit()
        self._ctx.out.result({"task": task, "steps": self._steps}, ("All as promised.",))

    async def _people_and_package(self, engine: EngineHandle) -> Task:
        developer, owner = engine.client(DEVELOPER), engine.client(OWNER)
        task = await self._create(developer)
        await self._refuse_self_approval(developer, task)
        task = await self._approve(owner, task)
        container = await self._download(developer, task)
        key = await self._export_key(engine.client(ADMINISTRATOR))
        certificate = (await developer.certificate(task.id)).encode()
        self._verify(container, certificate)
        self._open_and_compare(container, certificate, key)
        return task

    async def _create(self, developer: EmbeddedClient) -> Task:
        self._metadata.write_text(_metadata(), encoding="utf-8")
        firmware = [await developer.upload(each) for each in self._firmware]
        metadata = await developer.upload(self._metadata)
        request = PackageRequest(config=GATEWAY, firmware=tuple(firmware), metadata=(metadata,), name="demo 1.0.0")
        created = await developer.create_package(request)
        task = await developer.task(created.id)
        _check(task.status is TaskStatus.WAITING, f"The task is {task.status}, not waiting for approval.")
        files = ", ".join(f"{each.name} ({format_size(each.size)})" for each in (*firmware, metadata))
        self._step(f"created    task {task.id} by {DEVELOPER}: {files}; {task.status}")
        return task

    async def _refuse_self_approval(self, developer: EmbeddedClient, task: Task) -> None:
        try:
            await developer.decide(task.id, Verdict.APPROVED)
        except PermissionDeniedError as refusal:
            self._step(f"refused    {DEVELOPER} approving: {refusal.message}")
            return
        raise TaskFailedError("The developer could approve a task of their own.")

    async def _approve(self, owner: EmbeddedClient, task: Task) -> Task:
        started = time.monotonic()
        await owner.decide(task.id, Verdict.APPROVED, "looked at the digests")
        self._step(f"approved   by {OWNER}, for the digest {task.approval_digest[:16]}…")
        done = await owner.wait(task.id, within=300)
        seconds = time.monotonic() - started
        _check(done.status is TaskStatus.DONE, f"The task is {done.status}: {done.reason}")
        assert done.result is not None
        rate = format_size(int(done.total_bytes / seconds))
        self._step(
            f"done       encrypted, signed, packed and checked in {seconds:.2f} s ({rate}/s):"
            f" {done.result.size} bytes, sha256 {done.result.sha256}"
        )
        return done

    async def _download(self, developer: EmbeddedClient, task: Task) -> Path:
        from sealyard.cli.downloads import format_download
        from sealyard.client.downloads.downloader import Downloader
        from sealyard.client.downloads.history import DownloadHistory

        downloads = Downloader(developer, self._place.downloads, DownloadHistory(self._root / "downloads.json"))
        found = await downloads.download(task.id)
        self._step(f"downloaded {format_download(found)}")
        return Path(found.path)

    async def _export_key(self, administrator: EmbeddedClient) -> bytes:
        """The device's key, as it would be given to the device."""
        path = await administrator.export_device_key(GATEWAY, self._root / "device.key", confirmed=True)
        key = path.read_bytes()
        self._step(f"exported   the device key, {8 * len(key)} bits")
        return key

    def _verify(self, container: Path, certificate: bytes) -> None:
        from sealyard.containers.registry import get_format

        with container.open("rb") as source:
            found = get_format("se-1").verify(source, certificate)
        self._step(
            f"verified   {found.signing} by {found.certificate_subject}; {len(found.segments)} segments,"
            f" {found.metadata_length} bytes of metadata"
        )

    def _open_and_compare(self, container: Path, certificate: bytes, key: bytes) -> None:
        from sealyard.containers.registry import get_format
        from sealyard.crypto.ciphers import AesCipher

        with container.open("rb") as source:
            form = get_format("se-1")
            cipher = AesCipher(form.encryption_of(source), key)
            opened = form.extract(source, certificate, cipher, self._root / "opened")
        for before, after in zip((*self._firmware, self._metadata), opened, strict=True):
            same = before.stat().st_size == after.stat().st_size and before.read_bytes() == after.read_bytes()
            _check(same, f"{after.name} is not {before.name}.")
            self._step(f"compared   {after.name} is {before.name}, all {after.stat().st_size} bytes")

    async def _verify_audit(self) -> None:
        """By the auditor, beside whoever works; the engine sealed what it did when it closed."""
        from sealyard.client.engine_handle import EngineHandle

        engine = await EngineHandle.open_read_only(self._place.folder)
        try:
            report = await engine.client(AUDITOR).verify_audit()
        finally:
            await engine.close()
        _check(report.uncheckpointed_count == 0, f"{report.uncheckpointed_count} audit entries are not sealed.")
        self._step(f"audit      {report.size} entries fit together, the first {report.checkpointed_size} sealed")

    def _step(self, text: str) -> None:
        self._steps.append(text)
        self._ctx.out.status(text)


def _real_files() -> tuple[Path, Path]:
    """The interpreter itself, and the largest library that Sealyard stands on."""
    library = find_spec("cryptography.hazmat.bindings._rust")
    assert library is not None
    assert library.origin is not None
    return Path(sys.executable).resolve(), Path(library.origin)


def _metadata() -> str:
    made = {"product": GATEWAY, "version": "1.0.0", "builtAt": datetime.now(UTC).isoformat(timespec="seconds")}
    return json.dumps(made, indent=2) + "\n"


def _check(kept: bool, otherwise: str) -> None:
    if not kept:
        raise TaskFailedError(otherwise)
