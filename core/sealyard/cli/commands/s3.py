"""``sealyard s3``: check a bucket for the inputs and results of workspaces."""

from __future__ import annotations

from sealyard.cli.arguments import Commands, add_command, add_command_group
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(commands, "s3", "Check the object store of workspaces in S3")
    parser = add_command(
        subcommands, "check", _check, "Try in a bucket what Sealyard needs, with small objects that are removed again"
    )
    parser.add_argument("url", metavar="URL", help="s3://BUCKET/PREFIX, with ?region=REGION&endpoint=URL if necessary")


async def _check(ctx: Context) -> int:
    import asyncio

    from sealyard.engine.state.open_artifacts import require_s3_packages

    with require_s3_packages():
        from sealyard.storage.s3.bucket import Bucket
        from sealyard.storage.s3.location import S3Location
        from sealyard.storage.s3.probe import StoreProbe, derive_guarantees

    bucket = Bucket(S3Location.parse(ctx.args.url))
    results = await asyncio.to_thread(StoreProbe(bucket).run)
    lines = [
        f"{'yes' if result.passed else 'no '}  {result.name}" + ("" if result.passed else f". {result.fallback}")
        for result in results
    ]
    ctx.out.result({"checks": [result._asdict() for result in results]}, lines)
    derive_guarantees(bucket, results)
    return ExitCode.OK
