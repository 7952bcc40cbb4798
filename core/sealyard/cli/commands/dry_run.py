"""``--dry-run`` of ``package``, ``encrypt`` and ``sign``: check a request without storing anything."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sealyard.cli.commands.task_requests import (
    build_encryption_request,
    build_package_request,
    build_signing_request,
    package_files,
)
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields
from sealyard.cli.task_format import format_key, format_task_files
from sealyard.model.formatting import format_count
from sealyard.model.requests import RequestCheck
from sealyard.model.tasks import InputFile


async def check_package(ctx: Context) -> int:
    files = [await _hash_file(ctx, path, digest) for path, digest in package_files(ctx.args)]
    async with ctx.open_reader() as client:
        return _report(ctx, await client.check_package(build_package_request(ctx.args, files)))


async def check_encryption(ctx: Context) -> int:
    file = await _hash_file(ctx, ctx.args.file, ctx.args.sha256)
    async with ctx.open_reader() as client:
        return _report(ctx, await client.check_encryption(build_encryption_request(ctx.args, file)))


async def check_signing(ctx: Context) -> int:
    request = build_signing_request(ctx.args)
    async with ctx.open_reader() as client:
        return _report(ctx, await client.check_signing(request))


async def _hash_file(ctx: Context, path: Path, expected_sha256: str | None) -> InputFile:
    from sealyard.client.hashing_reader import hash_file

    file = await hash_file(path, expected_sha256, ctx.out.progress.for_file(path.name))
    ctx.out.progress.clear()
    return file


def _report(ctx: Context, check: RequestCheck) -> int:
    if not check.can_reach_quorum:
        ctx.out.warn(f"warning: {_format_missing_approvers(check)}")
    value = {"dryRun": True, **msgspec.to_builtins(check), "canReachQuorum": check.can_reach_quorum}
    ctx.out.result(value, _format_check(check))
    return ExitCode.OK


def _format_check(check: RequestCheck) -> list[str]:
    task = check.task
    lines = ["Dry run: the request is valid. Nothing was stored."]
    lines += format_fields(
        (
            ("existing task", f"{task.id}, with the same --client-token" if check.exists else ""),
            ("kind", task.kind),
            ("name", task.name),
            ("device", f"{task.config_name} version {task.config_version}"),
            ("format", task.format),
            ("encryption", format_key(task.encryption_key)),
            ("signing", format_key(task.signing_key)),
            ("approvals", _format_approvals(check)),
        )
    )
    return [*lines, *(f"warning: {warning}" for warning in task.warnings), *format_task_files(task)]


def _format_approvals(check: RequestCheck) -> str:
    if not check.task.approvals_required:
        return "not required"
    return f"{check.task.approvals_required} required; {_format_approvers(check)} can approve"


def _format_missing_approvers(check: RequestCheck) -> str:
    approvals = format_count(check.task.approvals_required, "approval")
    return f"The task could not be approved: it needs {approvals}, and {_format_approvers(check)} can approve."


def _format_approvers(check: RequestCheck) -> str:
    return format_count(check.eligible_approvers, "person", "people")
