"""`sealyard demo`: a temporary workspace, with the application or as a scripted run on files of this machine."""

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

from sealyard.cli.app_launcher import launch_app
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
from sealyard.model.formatting import format_count, format_size
from sealyard.model.requests import PackageRequest
from sealyard.model.tasks import Task, TaskStatus, Verdict
from sealyard.model.workspace import WorkspacePaths

if TYPE_CHECKING:
    from sealyard.client.embedded import EmbeddedClient
    from sealyard.client.engine_handle import EngineHandle


def run(ctx: Context) -> int:
    """Create a demo workspace; run the scripted demo with --headless, or the application."""
    headless = ctx.args.headless
    if not headless:
        ctx.out.warn("Creating a demo workspace…")
    with temporary_dir(keep=ctx.args.keep) as root:
        demo = asyncio.run(_create(root, populated=not headless))
        code = _run_headless(ctx, root, demo) if headless else _run_application(ctx, demo)
        if ctx.args.keep:
            ctx.out.warn(f"Kept {root}. Its passphrase was not stored, so the workspace can only be read.")
    return code


async def _create(root: Path, *, populated: bool) -> DemoWorkspace:
    if populated:
        return await create_populated_demo(root)
    demo = await create_demo(root)
    log_to_file(WorkspacePaths(demo.folder).engine_log)
    return demo


def _run_application(ctx: Context, demo: DemoWorkspace) -> int:
    """Run the application, which reads workspace, profile and passphrase from the environment."""
    os.environ[WORKSPACE_VARIABLE] = str(demo.folder)
    os.environ[PROFILE_VARIABLE] = "developer"
    os.environ[PASSPHRASE_VARIABLE] = demo.passphrase
    return launch_app(ctx.args)


# ---- the scripted run


def _run_headless(ctx: Context, root: Path, demo: DemoWorkspace) -> int:
    try:
        asyncio.run(_DemoRun(ctx, root, demo).run())
    except SealyardError as error:
        ctx.out.error(error)
        return ExitCode.FAILED
    return ExitCode.OK


class _DemoRun:
    """A run from files on disk to a container that is extracted and compared with them.

    An unexpected result of a step raises :class:`TaskFailedError`.
    """

    def __init__(self, ctx: Context, root: Path, demo: DemoWorkspace) -> None:
        self._ctx = ctx
        self._root = root
        self._demo = demo
        self._steps: list[str] = []
        self._firmware = _real_files()
        self._metadata = root / "metadata.json"

    async def run(self) -> None:
        from sealyard.client.engine_handle import EngineHandle

        engine = await EngineHandle.open(self._demo.folder, purpose="demo", passphrase=self._demo.passphrase)
        try:
            task = await self._create_and_verify_package(engine)
        finally:
            await engine.close()
        await self._verify_audit()
        self._ctx.out.result({"task": task, "steps": self._steps}, ("All steps succeeded.",))

    async def _create_and_verify_package(self, engine: EngineHandle) -> Task:
        developer, owner = engine.client(DEVELOPER), engine.client(OWNER)
        task = await self._create(developer)
        await self._refuse_self_approval(developer, task)
        task = await self._approve(owner, task)
        container = await self._download(developer, task)
        key = await self._export_key(engine.client(ADMINISTRATOR))
        certificate = (await developer.certificate(task.id)).encode()
        self._verify(container, certificate)
        self._extract_and_compare(container, certificate, key)
        return task

    async def _create(self, developer: EmbeddedClient) -> Task:
        self._metadata.write_text(_metadata(), encoding="utf-8")
        firmware = [await developer.upload(path) for path in self._firmware]
        metadata = await developer.upload(self._metadata)
        request = PackageRequest(config=GATEWAY, firmware=tuple(firmware), metadata=(metadata,), name="demo 1.0.0")
        created = await developer.create_package(request)
        task = await developer.task(created.id)
        _require(task.status is TaskStatus.WAITING, f"The task is {task.status}, not waiting for approval.")
        files = ", ".join(f"{file.name} ({format_size(file.size)})" for file in (*firmware, metadata))
        self._step(f"created    task {task.id} by {DEVELOPER}: {files}; {task.status}")
        return task

    async def _refuse_self_approval(self, developer: EmbeddedClient, task: Task) -> None:
        try:
            await developer.decide(task.id, Verdict.APPROVED)
        except PermissionDeniedError as error:
            self._step(f"rejected   approval by {DEVELOPER}: {error.message}")
            return
        raise TaskFailedError("The developer's approval of their own task was accepted.")

    async def _approve(self, owner: EmbeddedClient, task: Task) -> Task:
        started = time.monotonic()
        await owner.decide(task.id, Verdict.APPROVED, "compared the digests")
        self._step(f"approved   by {OWNER}, approval digest {task.approval_digest[:16]}…")
        done = await owner.wait(task.id, within=300)
        seconds = time.monotonic() - started
        _require(done.status is TaskStatus.DONE, f"The task is {done.status}: {done.reason}")
        assert done.result is not None
        rate = format_size(int(done.total_bytes / seconds))
        self._step(
            f"done       encrypted, signed, packaged and verified in {seconds:.2f} s ({rate}/s):"
            f" {done.result.size} bytes, sha256 {done.result.sha256}"
        )
        return done

    async def _download(self, developer: EmbeddedClient, task: Task) -> Path:
        from sealyard.cli.downloads import format_download
        from sealyard.client.downloads.downloader import Downloader
        from sealyard.client.downloads.history import DownloadHistory

        downloader = Downloader(developer, self._demo.downloads, DownloadHistory(self._root / "downloads.json"))
        file = await downloader.download(task.id)
        self._step(f"downloaded {format_download(file)}")
        return Path(file.path)

    async def _export_key(self, administrator: EmbeddedClient) -> bytes:
        """Export the key of the device, as for provisioning."""
        path = await administrator.export_device_key(GATEWAY, self._root / "device.key", confirmed=True)
        key = path.read_bytes()
        self._step(f"exported   device key, {8 * len(key)} bits")
        return key

    def _verify(self, container: Path, certificate: bytes) -> None:
        from sealyard.containers.registry import get_format

        with container.open("rb") as source:
            verification = get_format("se-1").verify(source, certificate)
        self._step(
            f"verified   {verification.signing} by {verification.certificate_subject};"
            f" {format_count(len(verification.segments), 'segment')},"
            f" {format_count(verification.metadata_length, 'byte')} of metadata"
        )

    def _extract_and_compare(self, container: Path, certificate: bytes, key: bytes) -> None:
        from sealyard.containers.registry import get_format
        from sealyard.crypto.ciphers import AesCipher

        with container.open("rb") as source:
            container_format = get_format("se-1")
            cipher = AesCipher(container_format.encryption_of(source), key)
            extracted = container_format.extract(source, certificate, cipher, self._root / "extracted")
        for original, copy in zip((*self._firmware, self._metadata), extracted, strict=True):
            is_equal = original.stat().st_size == copy.stat().st_size and original.read_bytes() == copy.read_bytes()
            _require(is_equal, f"{copy.name} differs from {original.name}.")
            self._step(f"compared   {copy.name} equals {original.name} ({copy.stat().st_size} bytes)")

    async def _verify_audit(self) -> None:
        """Verify the audit log as the auditor. The engine created a checkpoint when it was closed."""
        from sealyard.client.engine_handle import EngineHandle

        engine = await EngineHandle.open_read_only(self._demo.folder)
        try:
            report = await engine.client(AUDITOR).verify_audit()
        finally:
            await engine.close()
        missing = format_count(report.uncheckpointed_count, "audit entry", "audit entries")
        _require(report.uncheckpointed_count == 0, f"{missing} without a checkpoint.")
        entries = format_count(report.size, "entry", "entries")
        self._step(f"audit      {entries} verified, {report.checkpointed_size} of them covered by a checkpoint")

    def _step(self, text: str) -> None:
        self._steps.append(text)
        self._ctx.out.status(text)


def _real_files() -> tuple[Path, Path]:
    """Return files that exist on every machine: the Python interpreter and the library of cryptography."""
    library = find_spec("cryptography.hazmat.bindings._rust")
    assert library is not None
    assert library.origin is not None
    return Path(sys.executable).resolve(), Path(library.origin)


def _metadata() -> str:
    metadata = {"product": GATEWAY, "version": "1.0.0", "builtAt": datetime.now(UTC).isoformat(timespec="seconds")}
    return json.dumps(metadata, indent=2) + "\n"


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise TaskFailedError(message)
