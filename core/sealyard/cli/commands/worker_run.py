"""``sealyard worker run``: execute the tasks of a workspace on a crypto host."""

from __future__ import annotations

import os
from pathlib import Path

from sealyard.cli.arguments import Commands, add_command, duration
from sealyard.cli.context import Context, is_interactive
from sealyard.cli.exit_codes import ExitCode
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

MAX_WORKERS = 64


def add_commands(subcommands: Commands) -> None:
    parser = add_command(subcommands, "run", _run, "Execute the tasks of a workspace on this crypto host")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="folder of the crypto host")
    parser.add_argument("--workers", metavar="N", type=int, default=2, help="number of worker processes; by default 2")
    parser.add_argument(
        "--shutdown-timeout",
        metavar="TIME",
        type=duration,
        default=60,
        help="time for running jobs to finish when the host stops; by default 60s",
    )
    parser.add_argument("--log-format", choices=("json", "text"), default="json", help="json (default) or text")
    parser.add_argument("--allow-root", action="store_true", help="run although the user is root")
    parser.add_argument(
        "--allow-http", action="store_true", help="use an object store on another machine without encryption"
    )


async def _run(ctx: Context) -> int:
    _check_arguments(ctx)
    from sealyard.engine.state.open_state import require_postgres_packages

    with require_postgres_packages():
        from sealyard.agent.host_folder import build_host_location, load_host
        from sealyard.agent.service import Agent, AgentOptions
    from sealyard.cli.signals import stop_event
    from sealyard.concurrency.clock import SystemClock
    from sealyard.jobs.key_holder_start import forget_passphrases, open_key_holder
    from sealyard.model.workspace import WorkspacePaths
    from sealyard.server.observability.logging import configure_logging

    paths = WorkspacePaths(ctx.args.folder.absolute())
    settings = load_host(paths.root)
    prompt = f"Passphrase of {escape_text(paths.root.name, 60)}'s key store: "
    location = build_host_location(paths, settings.enrollment)
    key_holder = open_key_holder(location, may_prompt=is_interactive(), prompt=prompt)
    try:
        forget_passphrases(os.environ)
        stop = stop_event()
        configure_logging(ctx.args.log_format)
        options = AgentOptions(
            workers=ctx.args.workers, drain_seconds=ctx.args.shutdown_timeout, allow_http=ctx.args.allow_http
        )
        agent = await Agent.open(paths, settings, key_holder, SystemClock(), options)
        ctx.out.status(f"Executing tasks of {escape_text(settings.enrollment.workspace_name)} (press Ctrl-C to stop)")
        await agent.run(stop)
    finally:
        key_holder.close()
    ctx.out.result({"folder": str(paths.root)}, ("Stopped.",))
    return ExitCode.OK


def _check_arguments(ctx: Context) -> None:
    if os.geteuid() == 0 and not ctx.args.allow_root:
        raise UsageError(
            "The crypto host refuses to run as root: an error in it would affect the whole machine, not one user.",
            "Run it as a user of its own that owns the folder, or pass --allow-root.",
        )
    if not 1 <= ctx.args.workers <= MAX_WORKERS:
        raise UsageError(f"A crypto host can have 1 to {MAX_WORKERS} workers.", "Choose another number (--workers).")
