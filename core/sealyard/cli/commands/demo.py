"""``sealyard demo``: a temporary workspace, for the application or for a scripted run with files from this machine."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.cli.app_launcher import launch_app, select_in_environment
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
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
from sealyard.model.errors import PermissionDeniedError, SealyardError, TaskFailedError
from sealyard.model.formatting import format_count, format_size
from sealyard.model.requests import PackageRequest
from sealyard.model.tasks import Task, TaskStatus, Verdict
from sealyard.model.workspace import WorkspacePaths

if TYPE_CHECKING:
    from sealyard.client.embedded import EmbeddedClient
    from sealyard.client.engine_handle import EngineHandle


def run(ctx: Context) -> int:
    """Create a demo workspace, run the demo in it, and return the exit code.

    The demo is the application or, with ``--headless``, a scripted run.
    """
    headless = ctx.args.headless
    if not headless:
        ctx.out.warn("Creating a demo workspace…")
    with temporary_dir(keep=ctx.args.keep) as root:
        demo = asyncio.run(_create(root, is_populated=not headless))
        try:
            code = _run_headless(ctx, root, demo) if headless else _run_application(ctx, demo)
        finally:
            demo.key_holder.close()
        if ctx.args.keep:
            ctx.out.warn(f"Kept {root}. Its passphrase was not stored, so the workspace can only be read.")
    return code


async def _create(root: Path, *, is_populated: bool) -> DemoWorkspace:
    if is_populated:
        return await create_populated_demo(root)
    demo = await create_demo(root)
    log_to_file(WorkspacePaths(demo.folder).engine_log)
    return demo


def _run_application(ctx: Context, demo: DemoWorkspace) -> int:
    """Run the application, which reads workspace and profile from the environment."""
    select_in_environment(demo.folder, "developer")
    return launch_app(ctx.args, demo.key_holder)


# ---- the scripted run


def _run_headless(ctx: Context, root: Path, demo: DemoWorkspace) -> int:
    try:
        asyncio.run(_DemoRun(ctx, root, demo).run())
    except SealyardError as error:
        ctx.out.error(error)
        return ExitCode.FAILED
    return ExitCode.OK


class _DemoRun:
    """The scripted demo: creates and approves a package, downloads and extracts it, and compares the files.

    :meth:`run` raises :class:`TaskFailedError` if a step has an unexpected result.
    """

    def __init__(self, ctx: Context, root: Path, demo: DemoWorkspace) -> None:
        self._ctx = ctx
        self._root = root
        self._demo = demo
        self._steps: list[str] = []
        self._firmware = _find_sample_files()
        self._metadata = root / "metadata.json"

    async def run(self) -> None:
        from sealyard.client.engine_handle import EngineHandle

        engine = await EngineHandle.open(self._demo.folder, purpose="demo", key_holder=self._demo.key_holder)
        try:
            task = await self._create_and_verify_package(engine)
        finally:
            await engine.close()
        await self._verify_audit()
        self._ctx.out.result({"task": task, "steps": self._steps}, ("All steps succeeded.",))

    async def _create_and_verify_package(self, engine: EngineHandle) -> Task:
        developer, owner = engine.client(DEVELOPER), engine.client(OWNER)
        task = await self._create(developer)
        await self._check_self_approval(developer, task)
        task = await self._approve(owner, task)
        container = await self._download(developer, task)
        key = await self._export_key(engine.client(ADMINISTRATOR))
        certificate = (await developer.certificate(task.id)).encode()
        self._verify(container, certificate)
        self._extract_and_compare(container, certificate, key)
        return task

    async def _create(self, developer: EmbeddedClient) -> Task:
        self._metadata.write_text(_build_metadata(), encoding="utf-8")
        firmware = [await developer.upload(path) for path in self._firmware]
        metadata = await developer.upload(self._metadata)
        request = PackageRequest(config=GATEWAY, firmware=tuple(firmware), metadata=(metadata,), name="demo 1.0.0")
        created_task = await developer.create_package(request)
        task = await developer.task(created_task.id)
        _require(task.status is TaskStatus.WAITING, f"The task is {task.status}, not waiting for approval.")
        files = ", ".join(f"{file.name} ({format_size(file.size)})" for file in (*firmware, metadata))
        self._report_step(f"created    task {task.id} by {DEVELOPER}: {files}; {task.status}")
        return task

    async def _check_self_approval(self, developer: EmbeddedClient, task: Task) -> None:
        try:
            await developer.decide(task.id, Verdict.APPROVED)
        except PermissionDeniedError as error:
            self._report_step(f"rejected   approval by {DEVELOPER}: {error.message}")
            return
        raise TaskFailedError("The developer's approval of their own task was accepted.")

    async def _approve(self, owner: EmbeddedClient, task: Task) -> Task:
        start_time = time.monotonic()
        await owner.decide(task.id, Verdict.APPROVED, "compared the digests")
        self._report_step(f"approved   by {OWNER}, approval digest {task.approval_digest[:16]}…")
        finished_task = await owner.wait(task.id, within=300)
        seconds = time.monotonic() - start_time
        _require(finished_task.status is TaskStatus.DONE, f"The task is {finished_task.status}: {finished_task.reason}")
        assert finished_task.result is not None
        rate = format_size(int(finished_task.total_bytes / seconds))
        self._report_step(
            f"done       encrypted, signed, packaged and verified in {seconds:.2f} s ({rate}/s):"
            f" {format_count(finished_task.result.size or 0, 'byte')}, sha256 {finished_task.result.sha256}"
        )
        return finished_task

    async def _download(self, developer: EmbeddedClient, task: Task) -> Path:
        from sealyard.cli.downloads import format_download
        from sealyard.client.downloads.downloader import Downloader
        from sealyard.client.downloads.history import DownloadHistory

        downloader = Downloader(developer, self._demo.downloads, DownloadHistory(self._root / "downloads.json"))
        file = await downloader.download(task.id)
        self._report_step(f"downloaded {format_download(file)}")
        return Path(file.path)

    async def _export_key(self, administrator: EmbeddedClient) -> bytes:
        """Export the symmetric key of the device and return it, as an administrator would to provision devices."""
        path = await administrator.export_device_key(GATEWAY, self._root / "device.key", confirmed=True)
        key = path.read_bytes()
        self._report_step(f"exported   device key, {8 * len(key)} bits")
        return key

    def _verify(self, container: Path, certificate: bytes) -> None:
        from sealyard.containers.registry import get_format

        with container.open("rb") as source:
            verification = get_format("se-1").verify(source, certificate)
        self._report_step(
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
            extracted_files = container_format.extract(source, certificate, cipher, self._root / "extracted")
        for original_file, extracted_file in zip((*self._firmware, self._metadata), extracted_files, strict=True):
            is_equal = (
                original_file.stat().st_size == extracted_file.stat().st_size
                and original_file.read_bytes() == extracted_file.read_bytes()
            )
            _require(is_equal, f"{extracted_file.name} differs from {original_file.name}.")
            self._report_step(
                f"compared   {extracted_file.name} equals {original_file.name}"
                f" ({format_count(extracted_file.stat().st_size, 'byte')})"
            )

    async def _verify_audit(self) -> None:
        """Verify the audit log as the auditor, and check that closing the engine added a final checkpoint."""
        from sealyard.client.engine_handle import EngineHandle

        engine = await EngineHandle.open_read_only(self._demo.folder)
        try:
            report = await engine.client(AUDITOR).verify_audit()
        finally:
            await engine.close()
        missing_entries = format_count(report.uncheckpointed_count, "audit entry", "audit entries")
        _require(report.uncheckpointed_count == 0, f"{missing_entries} without a checkpoint.")
        entries = format_count(report.size, "entry", "entries")
        self._report_step(f"audit      {entries} verified, {report.checkpointed_size} of them covered by a checkpoint")

    def _report_step(self, text: str) -> None:
        self._steps.append(text)
        self._ctx.out.status(text)


def _find_sample_files() -> tuple[Path, Path]:
    """Return two files that exist in every installation.

    They are the Python interpreter and the native library of the ``cryptography`` package.
    """
    library = find_spec("cryptography.hazmat.bindings._rust")
    assert library is not None
    assert library.origin is not None
    return Path(sys.executable).resolve(), Path(library.origin)


def _build_metadata() -> str:
    metadata = {"product": GATEWAY, "version": "1.0.0", "builtAt": datetime.now(UTC).isoformat(timespec="seconds")}
    return json.dumps(metadata, indent=2) + "\n"


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise TaskFailedError(message)
