"""``sealyard device``: device configurations."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from sealyard.cli.arguments import Commands, add_command, add_command_group, choice, duration, named, named_uri
from sealyard.cli.commands.keys import PURPOSE_HELP
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields, format_table
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, SigningAlgorithm
from sealyard.model.device_configs import (
    DEFAULT_FORMAT,
    DEFAULT_LINK_TTL,
    DEFAULT_RETENTION_SECONDS,
    DeviceConfig,
    EncryptionKey,
    SigningKey,
)
from sealyard.model.errors import UsageError
from sealyard.model.formatting import format_chain, format_duration, format_time
from sealyard.model.requests import DeviceRequest, DeviceUpdate, EncryptionKeyRequest, SigningKeyRequest
from sealyard.model.safe_text import escape_text

_GENERATED_PURPOSE_HELP = f"{PURPOSE_HELP}, or {KeyPurpose.DATA} if the algorithm signs digests (generated keys only)"
_EXISTING_KEY_HELP = (
    "existing key (requires permission to UPDATE keys, or every device configuration that uses it) for the algorithm"
    " with the same NAME; by default a new key is generated. A key of a token or key service is registered if necessary"
    " (requires permission to CREATE keys)"
)
_WRAP_HELP = "key in a token or key service that wraps the new encryption key for the algorithm with the same NAME"
_REPEATED_HELP = "repeat it for more keys, of which tasks use the first one"
_APPROVALS_HELP = "number of approvals required (requesters cannot approve their own tasks)"
_FORMAT_HELP = "container format"
_LINK_TTL_HELP = "time until a download link expires, for example 24h"
_RETENTION_HELP = "time until a result is removed, for example 30d"
_DESCRIPTION_HELP = "text for display"


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(
        commands, "device", "Manage device configurations: keys, algorithms and conditions of packages"
    )
    _add_create_command(subcommands)
    _add_update_command(subcommands)
    add_command(subcommands, "list", _list, "List device configurations")
    show_parser = _add_name_argument(add_command(subcommands, "show", _show, "Show a device configuration"))
    show_parser.add_argument("--version", metavar="N", type=int, help="version to show; by default the newest")
    certificates_parser = _add_name_argument(
        add_command(
            subcommands,
            "certificates",
            _print_certificates,
            "Print the certificates of a device's keys, with chains (PEM)",
        )
    )
    certificates_parser.add_argument(
        "--version", metavar="N", type=int, help="version of the device configuration; by default the newest"
    )
    export_parser = _add_name_argument(
        add_command(subcommands, "export-key", _export_key, "Export a symmetric key of a device, for provisioning")
    )
    export_parser.add_argument(
        "--out", metavar="FILE", type=Path, required=True, help="new file (raw bytes, readable only by you)"
    )
    export_parser.add_argument("--encryption-key", metavar="NAME", help="the key to export; by default the first one")
    export_parser.add_argument("--yes", action="store_true", help="confirm exporting the key")


def _add_create_command(subcommands: Commands) -> None:
    parser = _add_name_argument(
        add_command(subcommands, "create", _create, "Create a device configuration (generates keys unless given)")
    )
    parser.add_argument(
        "--encryption",
        metavar="[NAME=]ALGORITHM",
        type=named(choice(EncryptionAlgorithm)),
        action="append",
        required=True,
        help=f"{', '.join(EncryptionAlgorithm)}; {_REPEATED_HELP}",
    )
    parser.add_argument(
        "--signing",
        metavar="[NAME=]ALGORITHM",
        type=named(choice(SigningAlgorithm)),
        action="append",
        required=True,
        help=f"{', '.join(SigningAlgorithm)}; {_REPEATED_HELP}",
    )
    parser.add_argument(
        "--view",
        metavar="SUBJECT",
        nargs="+",
        action="extend",
        default=[],
        help="subjects that can only view the configuration and its tasks",
    )
    parser.add_argument(
        "--use", metavar="SUBJECT", nargs="+", action="extend", default=[], help="subjects that can request tasks"
    )
    parser.add_argument(
        "--approve", metavar="SUBJECT", nargs="+", action="extend", default=[], help="approvers; by default you"
    )
    parser.add_argument("--approvals", metavar="N", type=int, default=1, help=_APPROVALS_HELP)
    parser.add_argument("--format", metavar="FORMAT", default=DEFAULT_FORMAT, help=_FORMAT_HELP)
    parser.add_argument("--link-ttl", metavar="TIME", type=duration, default=DEFAULT_LINK_TTL, help=_LINK_TTL_HELP)
    parser.add_argument(
        "--retention", metavar="TIME", type=duration, default=DEFAULT_RETENTION_SECONDS, help=_RETENTION_HELP
    )
    parser.add_argument("--purpose", metavar="PURPOSE", type=choice(KeyPurpose), help=_GENERATED_PURPOSE_HELP)
    for option in ("--encryption-key", "--signing-key"):
        parser.add_argument(
            option, metavar="[NAME=]URI", type=named_uri, action="append", default=[], help=_EXISTING_KEY_HELP
        )
    parser.add_argument(
        "--signing-provider",
        metavar="[NAME=]PROVIDER",
        type=named(str),
        action="append",
        default=[],
        help="token or key service in which the key for the algorithm with the same NAME is generated, see"
        " `sealyard key providers`",
    )
    parser.add_argument(
        "--wrap-with", metavar="[NAME=]URI", type=named_uri, action="append", default=[], help=_WRAP_HELP
    )
    parser.add_argument("--description", metavar="TEXT", default="", help=_DESCRIPTION_HELP)


def _add_update_command(subcommands: Commands) -> None:
    parser = _add_name_argument(
        add_command(
            subcommands, "update", _update, "Create a new version of a device configuration with the given changes"
        )
    )
    parser.add_argument("--approvals", metavar="N", type=int, help=_APPROVALS_HELP)
    parser.add_argument("--format", metavar="FORMAT", help=_FORMAT_HELP)
    parser.add_argument("--link-ttl", metavar="TIME", type=duration, help=_LINK_TTL_HELP)
    parser.add_argument("--retention", metavar="TIME", type=duration, help=_RETENTION_HELP)
    parser.add_argument("--description", metavar="TEXT", help=_DESCRIPTION_HELP)


def _add_name_argument(parser: ArgumentParser) -> ArgumentParser:
    parser.add_argument("name", metavar="NAME", help="name of the device configuration")
    return parser


# ---- device configurations


async def _create(ctx: Context) -> int:
    args = ctx.args
    encryption_uris = _match_names("--encryption", args.encryption, "--encryption-key", args.encryption_key)
    wrapping_uris = _match_names("--encryption", args.encryption, "--wrap-with", args.wrap_with)
    signing_uris = _match_names("--signing", args.signing, "--signing-key", args.signing_key)
    providers = _match_names("--signing", args.signing, "--signing-provider", args.signing_provider)
    request = DeviceRequest(
        name=args.name,
        encryption_keys=tuple(
            EncryptionKeyRequest(
                algorithm=algorithm, uri=encryption_uris.get(name), wrapping_key=wrapping_uris.get(name), name=name
            )
            for name, algorithm in args.encryption
        ),
        signing_keys=tuple(
            SigningKeyRequest(algorithm=algorithm, uri=signing_uris.get(name), provider=providers.get(name), name=name)
            for name, algorithm in args.signing
        ),
        view=tuple(args.view),
        use=tuple(args.use),
        approve=tuple(args.approve),
        approvals_required=args.approvals,
        format=args.format,
        link_ttl_seconds=args.link_ttl,
        retention_seconds=args.retention,
        purpose=args.purpose,
        description=args.description,
    )
    async with ctx.open_writer("device create") as client:
        device = await client.create_device(request)
    _print_device(ctx, device)
    return ExitCode.OK


def _match_names(
    algorithm_option: str, algorithms: Sequence[tuple[str, object]], option: str, values: Sequence[tuple[str, str]]
) -> dict[str, str]:
    """Return the pairs of key name and value in ``values``, those of ``option``, as a dictionary.

    Raises :class:`UsageError` unless each name is unique and matches exactly one of ``algorithms``, the values of
    ``algorithm_option``.
    """
    names = [name for name, _ in algorithms]
    for name, value in values:
        if names.count(name) != 1 or [name for name, _ in values].count(name) != 1:
            raise UsageError(
                f"{option} {escape_text(value, 100)} does not belong to exactly one key.",
                f"Give both options the same name: {algorithm_option} NAME=ALGORITHM {option} NAME=...",
            )
    return dict(values)


async def _update(ctx: Context) -> int:
    args = ctx.args
    request = DeviceUpdate(
        config=args.name,
        approvals_required=args.approvals,
        format=args.format,
        link_ttl_seconds=args.link_ttl,
        retention_seconds=args.retention,
        description=args.description,
    )
    async with ctx.open_writer("device update") as client:
        device = await client.update_device(request)
    _print_device(ctx, device)
    return ExitCode.OK


async def _list(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        devices = await client.devices()
    rows = [
        (
            device.name,
            device.version,
            device.encryption.algorithm,
            device.signing.algorithm,
            device.approvals_required,
            device.id,
        )
        for device in devices
    ]
    headers = ("NAME", "VERSION", "ENCRYPTION", "SIGNING", "APPROVALS", "ID")
    ctx.out.result(devices, format_table(headers, rows, "No device configurations that you can view."))
    return ExitCode.OK


async def _show(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        device = await client.device(ctx.args.name, ctx.args.version)
    _print_device(ctx, device)
    return ExitCode.OK


def _print_device(ctx: Context, device: DeviceConfig) -> None:
    ctx.out.result(device, format_device(device))


def format_device(device: DeviceConfig) -> list[str]:
    lines = format_fields(
        (
            ("name", device.name),
            ("id", device.id),
            ("version", f"{device.version}, by {device.created_by} at {format_time(device.created_at)}"),
            ("description", device.description),
            *(("encryption", _format_config_key(key)) for key in device.encryption_keys),
            *(field for key in device.signing_keys for field in _signing_fields(device, key)),
            ("format", device.format),
            ("approvals", device.approvals_required),
            ("link expires after", format_duration(device.link_ttl_seconds)),
            ("retention", format_duration(device.retention_seconds)),
        )
    )
    return [*lines, *(f"warning: {warning}" for warning in device.warnings)]


def _signing_fields(device: DeviceConfig, key: SigningKey) -> list[tuple[str, object]]:
    chain = device.find_chain(key)
    fields: list[tuple[str, object]] = [("signing", _format_config_key(key))]
    return [*fields, ("certificate", format_chain(chain.certificates))] if chain is not None else fields


def _format_config_key(key: EncryptionKey | SigningKey) -> str:
    about = ": ".join(text for text in (key.name, key.description) if text)
    return f"{key.algorithm} with {key.uri} v{key.version}" + (f" ({about})" if about else "")


async def _print_certificates(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        certificates = await client.device_certificates(ctx.args.name, ctx.args.version)
    if ctx.out.as_json:
        ctx.out.result(certificates, ())
        return ExitCode.OK
    for certificate in certificates:
        ctx.out.warn(f"{certificate.label} {certificate.kind} {certificate.algorithm} {certificate.name}".rstrip())
        ctx.out.document(certificate.pem)
    return ExitCode.OK


async def _export_key(ctx: Context) -> int:
    async with ctx.open_writer("device export-key") as client:
        path = await client.export_device_key(
            ctx.args.name, ctx.args.out, encryption_key=ctx.args.encryption_key, confirmed=ctx.args.yes
        )
    ctx.out.result({"path": str(path)}, (f"Exported the key to {path}. Anyone with this file can decrypt packages.",))
    return ExitCode.OK
