"""``sealyard serve``: serve workspaces to other machines through the REST API."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sealyard.cli.arguments import Commands, add_command, duration, input_path
from sealyard.cli.context import Context, is_interactive, select_folder
from sealyard.cli.exit_codes import ExitCode
from sealyard.client.config.workspaces import load_workspace_metadata
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

if TYPE_CHECKING:
    from sealyard.client.config.key_holder import KeyHolder
    from sealyard.client.engine_handle import EngineHandle
    from sealyard.model.cluster import LeaseSettings
    from sealyard.server.cluster.server import ClusterServer
    from sealyard.server.server import Server
    from sealyard.server.settings import ServerSettings


def add_commands(commands: Commands) -> None:
    serve_parser = add_command(commands, "serve", _serve, "Serve workspaces over HTTP, until interrupted")
    serve_parser.add_argument(
        "--config", metavar="FILE", type=input_path, help="settings file (TOML); see `sealyard config example --server`"
    )
    serve_parser.add_argument("--listen", metavar="HOST:PORT", help="address to listen on; by default 127.0.0.1:8750")
    serve_parser.add_argument(
        "--address-file",
        metavar="FILE",
        type=Path,
        help="write the server's URL to this file while it listens; for scripts that use port 0",
    )
    serve_parser.add_argument("--tls-certificate", metavar="FILE", help="certificate of the server (PEM)")
    serve_parser.add_argument("--tls-key", metavar="FILE", help="private key of the certificate (PEM)")
    serve_parser.add_argument(
        "--behind-proxy", action="store_const", const=True, help="TLS is terminated by a reverse proxy"
    )
    serve_parser.add_argument("--public-url", metavar="URL", help="base URL for clients, used in links")
    serve_parser.add_argument(
        "--tenant", metavar="NAME=DIR", action="append", help="name and workspace of a tenant; can be repeated"
    )
    serve_parser.add_argument(
        "--socket-group", metavar="GROUP", help="group whose members can use the socket of the workspace"
    )
    serve_parser.add_argument("--allow-root", action="store_true", help="serve although the server runs as root")
    serve_parser.add_argument("--log-format", metavar="FORMAT", choices=("json", "text"), help="json (default) or text")
    serve_parser.add_argument(
        "--shutdown-timeout",
        metavar="TIME",
        type=duration,
        help="time for running tasks to finish when the server stops; by default 30s",
    )


async def _serve(ctx: Context) -> int:
    if os.geteuid() == 0 and not ctx.args.allow_root:
        raise UsageError(
            "The server refuses to run as root: an error in it would affect the whole machine, not one user.",
            "Run it as a user of its own that owns the workspaces, or pass --allow-root.",
        )
    settings = _load_settings(ctx)
    with contextlib.ExitStack() as stack:
        tenants = _load_tenants(ctx, settings)
        if settings.cluster.enabled:
            from sealyard.server.cluster.requirements import check_cluster

            check_cluster(settings, tenants, os.environ)
        return await _serve_tenants(ctx, settings, _start_key_holders(tenants, settings.anchors, stack))


async def _serve_tenants(ctx: Context, settings: ServerSettings, tenants: Mapping[str, tuple[Path, KeyHolder]]) -> int:
    import asyncio
    import importlib

    from sealyard.cli.signals import has_terminal, stop_event

    # With a terminal, SIGHUP means that the terminal was closed; a service receives it to reload the certificate.
    stops_on_hangup = has_terminal()
    stop = stop_event(hang_up=stops_on_hangup)
    # Import the server while the key holders open their key stores.
    import_task = asyncio.create_task(asyncio.to_thread(importlib.import_module, "sealyard.server.server"))
    server = await _start_server(settings, tenants, import_task)
    if not stops_on_hangup:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, server.reload_certificate)
    address_file = ctx.args.address_file
    try:
        if address_file is not None:
            _write_address(address_file, server.address)
        ctx.out.status(f"Serving {', '.join(tenants)} on {server.address} (press Ctrl-C to stop)")
        await server.serve_until(stop)
        # Clear the event, so that a second signal sets it again and stops the server without waiting for running tasks.
        stop.clear()
    finally:
        if address_file is not None:
            _remove_address(address_file, server.address)
        await server.stop(force=stop)
    value = {"address": server.address, "tenants": list(tenants)}
    ctx.out.result(value, ("Stopped. Pending tasks resume at the next start.",))
    return ExitCode.OK


async def _start_server(
    settings: ServerSettings, tenants: Mapping[str, tuple[Path, KeyHolder]], import_task: Awaitable[object]
) -> Server | ClusterServer:
    """Open the engines and start a server, or start one of several servers, which opens the engine if it is needed."""
    if settings.cluster.enabled:
        await import_task
        return await _start_cluster_server(settings, tenants)
    engines = await _open_engines(tenants, settings.key_check_minutes * 60)
    await import_task
    from sealyard.server.observability.logging import configure_logging
    from sealyard.server.server import Server

    configure_logging(settings.log_format)
    return await Server.open(settings, engines)


async def _start_cluster_server(
    settings: ServerSettings, tenants: Mapping[str, tuple[Path, KeyHolder]]
) -> ClusterServer:
    """Start one of several servers. Raises :class:`KeyStoreLockedError` if its key store cannot be opened."""
    from sealyard.client.config.lease_reader import open_lease_reader
    from sealyard.model.cluster import LeaseSettings
    from sealyard.model.workspace import WorkspacePaths
    from sealyard.server.cluster.server import ClusterServer
    from sealyard.server.observability.logging import configure_logging

    configure_logging(settings.log_format)
    ((tenant, (folder, key_holder)),) = tenants.items()
    await key_holder.wait_until_open()
    lease = LeaseSettings(url=settings.cluster.url.rstrip("/"), seconds=settings.cluster.lease_seconds)

    async def open_engine() -> EngineHandle:
        return await _open_engine(folder, key_holder, settings.key_check_minutes * 60, lease)

    return await ClusterServer.open(settings, tenant, WorkspacePaths(folder), open_engine, open_lease_reader(folder))


def _write_address(path: Path, address: str) -> None:
    """Write the server's URL to the file atomically, so that scripts never read an incomplete URL.

    Raises :class:`UsageError` if the file cannot be written.
    """
    temporary_path = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary_path.write_text(f"{address}\n")
        temporary_path.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary_path.unlink(missing_ok=True)
        raise UsageError(
            f"Cannot write the address file {escape_text(str(path))}: {escape_text(error.strerror or str(error))}.",
            "Choose another file (--address-file).",
        ) from error


def _remove_address(path: Path, address: str) -> None:
    """Remove the address file unless another server has replaced it."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.read_text() == f"{address}\n":
            path.unlink()


async def _open_engines(
    tenants: Mapping[str, tuple[Path, KeyHolder]], key_check_interval: float
) -> dict[str, EngineHandle]:
    """Open the engine of each tenant, which checks its keys every ``key_check_interval`` seconds.

    If one cannot be opened, close the others and raise its error.
    """
    engines: dict[str, EngineHandle] = {}
    try:
        for name, (folder, key_holder) in tenants.items():
            engines[name] = await _open_engine(folder, key_holder, key_check_interval)
    except BaseException:
        for engine in engines.values():
            await engine.close()
        raise
    return engines


async def _open_engine(
    folder: Path, key_holder: KeyHolder, key_check_interval: float, lease: LeaseSettings | None = None
) -> EngineHandle:
    """Open an engine, and start a check of its key providers, so that the log shows at once which do not work."""
    from sealyard.client.engine_handle import EngineHandle

    engine = await EngineHandle.open(
        folder, purpose="serve", key_holder=key_holder, key_check_interval=key_check_interval, lease=lease
    )
    await engine.run(engine.engine.provider_monitor.check_within(0))
    return engine


def _load_settings(ctx: Context) -> ServerSettings:
    """Load the settings file, if one is given, and apply the command-line options, which take precedence."""
    from sealyard.server.settings import ServerSettings, load_server_settings

    args = ctx.args
    settings = load_server_settings(args.config) if args.config else ServerSettings()
    overrides = {
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
    return msgspec.structs.replace(settings, **{name: value for name, value in overrides.items() if value is not None})


def _parse_tenants(pairs: list[str]) -> dict[str, str]:
    tenants: dict[str, str] = {}
    for pair in pairs:
        name, equals, folder = pair.partition("=")
        if not name or not equals or not folder:
            raise UsageError(f"Invalid tenant {pair!r}.", "Use NAME=DIR.")
        if name in tenants:
            raise UsageError(f"Duplicate tenant {name!r}.", "Use a different name for each tenant.")
        tenants[name] = folder
    return tenants


def _load_tenants(ctx: Context, settings: ServerSettings) -> dict[str, Path]:
    """Return the workspace folder of each tenant."""
    folders = {name: Path(folder).absolute() for name, folder in settings.tenants.items()}
    if not folders:
        folder = select_folder(ctx)
        folders = {load_workspace_metadata(folder).name: folder}
    return folders


def _start_key_holders(
    folders: Mapping[str, Path], anchors: Mapping[str, str], stack: contextlib.ExitStack
) -> dict[str, tuple[Path, KeyHolder]]:
    """Start the key holder of each tenant, which ``stack`` closes. They prompt for missing passphrases.

    ``anchors``: folders of the freshness anchors by tenant. Raises :class:`UsageError` if it names an unknown tenant.
    """
    if unknown := anchors.keys() - folders.keys():
        raise UsageError(f"Unknown tenant {sorted(unknown)[0]!r} in the setting anchors.", "Correct its name.")
    from sealyard.client.config.key_holder import forget_passphrases, start_key_holder

    tenants: dict[str, tuple[Path, KeyHolder]] = {}
    for name, folder in folders.items():
        prompt = f"Passphrase of {escape_text(name, 60)}'s key store: "
        key_holder = start_key_holder(
            folder, may_prompt=is_interactive(), tenant=name, prompt=prompt, anchors=anchors.get(name, "")
        )
        stack.callback(key_holder.close)
        tenants[name] = folder, key_holder
    forget_passphrases(os.environ)
    return tenants
