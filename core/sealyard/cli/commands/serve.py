"""`sealyard serve`: the engine with its workers behind the REST API, for people and pipelines on other machines."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sealyard.cli.arguments import Commands, command, duration
from sealyard.cli.context import Context, ask_passphrase, is_interactive
from sealyard.cli.exit_codes import ExitCode
from sealyard.client.config.profiles import selected_workspace
from sealyard.client.config.workspaces import load_workspace_metadata, passphrase_for
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

if TYPE_CHECKING:
    from sealyard.client.engine_handle import EngineHandle
    from sealyard.server.settings import ServerSettings


def add(commands: Commands) -> None:
    serving = command(commands, "serve", _serve, "Serves workspaces to other machines, until it is interrupted.")
    serving.add_argument(
        "--config", metavar="FILE", type=Path, help="settings file (TOML); see `sealyard config example --server`"
    )
    serving.add_argument("--listen", metavar="HOST:PORT", help="by default 127.0.0.1:8750")
    serving.add_argument(
        "--address-file",
        metavar="FILE",
        type=Path,
        help="write the server's URL to this file while it listens; for scripts that use port 0",
    )
    serving.add_argument("--tls-certificate", metavar="FILE")
    serving.add_argument("--tls-key", metavar="FILE")
    serving.add_argument("--behind-proxy", action="store_const", const=True, help="a proxy in front ends TLS")
    serving.add_argument("--public-url", metavar="URL", help="how clients reach it, for links")
    serving.add_argument("--tenant", metavar="NAME=DIR", action="append", help="a workspace under a tenant's name")
    serving.add_argument("--socket-group", metavar="GROUP", help="who may use the workspace's own socket besides you")
    serving.add_argument("--log-format", metavar="FORMAT", choices=("json", "text"))
    serving.add_argument(
        "--shutdown-timeout",
        metavar="TIME",
        type=duration,
        help="how long running work may finish at the end; by default 30s",
    )


async def _serve(ctx: Context) -> int:

    import asyncio
    import importlib

    from sealyard.cli.signals import has_terminal, stop_event

    settings = _settings(ctx)
    tenants = _tenants(ctx, settings)
    # A terminal that hangs up is gone; without one it is how a service is told to look at its files again.
    may_hang_up = has_terminal()
    stop = stop_event(hang_up=may_hang_up)
    # The first workers unlock their keys while the server is loaded: each takes a second.
    loading = asyncio.create_task(asyncio.to_thread(importlib.import_module, "sealyard.server.server"))
    engines = await _open_engines(tenants)
    await loading
    from sealyard.server.observability.logging import configure_logging
    from sealyard.server.server import Server

    configure_logging(settings.log_format)
    service = await Server.open(settings, engines)
    if not may_hang_up:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, service.reload_certificate)
    address_file = ctx.args.address_file
    try:
        if address_file is not None:
            _write_address(address_file, service.address)
        ctx.out.status(f"Serving {', '.join(tenants)} on {service.address}; Ctrl-C ends it.")
        await service.serve_until(stop)
        # The next signal is about the end: it is not to wait for anything any more.
        stop.clear()
    finally:
        if address_file is not None:
            _remove_address(address_file, service.address)
        await service.stop(force=stop)
    ctx.out.result({"address": service.address, "tenants": list(tenants)}, ("Closed. What is unfinished goes on.",))
    return ExitCode.OK


def _write_address(path: Path, address: str) -> None:
    """Replace the file at once, so that a script never reads half a URL. Raises :class:`UsageError`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(f"{address}\n")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UsageError(
            f"The address file {escape_text(str(path))} cannot be written:"
            f" {escape_text(error.strerror or str(error))}.",
            "Choose another file (--address-file).",
        ) from error


def _remove_address(path: Path, address: str) -> None:
    """Keep the file if another server has replaced it."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.read_text() == f"{address}\n":
            path.unlink()


async def _open_engines(tenants: Mapping[str, tuple[Path, str | None]]) -> dict[str, EngineHandle]:
    """By tenant. Where one stays closed, none is left open."""
    from sealyard.client.engine_handle import EngineHandle

    engines: dict[str, EngineHandle] = {}
    try:
        for name, (folder, passphrase) in tenants.items():
            engines[name] = await EngineHandle.open(folder, purpose="serve", passphrase=passphrase)
    except BaseException:
        for each in engines.values():
            await each.close()
        raise
    return engines


def _settings(ctx: Context) -> ServerSettings:
    """The file's, under those of the options."""
    from sealyard.server.settings import ServerSettings, load_server_settings

    args = ctx.args
    settings = load_server_settings(args.config) if args.config else ServerSettings()
    given = {
        "listen": args.listen,
        "tls_certificate": args.tls_certificate,
        "tls_key": args.tls_key,
        "behind_proxy": args.behind_proxy,
        "public_url": args.public_url,
        "socket_group": args.socket_group,
        "log_format": args.log_format,
        "shutdown_timeout_seconds": args.shutdown_timeout,
        "tenants": _parse_tenants(args.tenant) if args.tenant else None,
    }
    return msgspec.structs.replace(settings, **{name: value for name, value in given.items() if value is not None})


def _parse_tenants(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in pairs:
        name, equals, folder = each.partition("=")
        if not name or not equals or not folder:
            raise UsageError(f"{each!r} is no tenant.", "Write NAME=DIR.")
        if name in found:
            raise UsageError(f"There are two tenants {name!r}.", "Give each a name of its own.")
        found[name] = folder
    return found


def _tenants(ctx: Context, settings: ServerSettings) -> dict[str, tuple[Path, str | None]]:
    """Folder and passphrase of each: asked for before anything listens."""
    named = {name: Path(folder).absolute() for name, folder in settings.tenants.items()}
    if not named:
        folder = _folder(ctx)
        named = {load_workspace_metadata(folder).name: folder}
    return {name: (folder, _passphrase(name, folder)) for name, folder in named.items()}


def _passphrase(tenant: str, folder: Path) -> str | None:
    ask = (
        partial(ask_passphrase, f"Passphrase of {escape_text(tenant, 60)}'s key store: ") if is_interactive() else None
    )
    return passphrase_for(folder, os.environ, ask, tenant=tenant)


def _folder(ctx: Context) -> Path:
    """The workspace that is named, else that of the profile: who one is in it does not matter to who serves it."""
    place = selected_workspace(getattr(ctx.args, "workspace", None), os.environ)
    return place if place is not None and not getattr(ctx.args, "profile", None) else ctx.folder
