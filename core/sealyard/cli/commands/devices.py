"""``sealyard device`` and ``key``: device configurations and their keys."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sealyard.cli.arguments import Commands, add_command, add_command_group, choice, duration, named
from sealyard.cli.context import Context, ask_passphrase, is_interactive
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields, format_table
from sealyard.keys.pkcs12 import is_pkcs12
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.device_configs import (
    DEFAULT_FORMAT,
    DEFAULT_LINK_TTL,
    DEFAULT_RETENTION_SECONDS,
    DeviceConfig,
    EncryptionKey,
    SigningKey,
)
from sealyard.model.errors import InvalidInputError, UsageError
from sealyard.model.formatting import format_duration, format_time
from sealyard.model.keys import KeyInfo, certificate_warning
from sealyard.model.requests import DeviceRequest, DeviceUpdate, EncryptionKeyRequest, KeyImport, SigningKeyRequest
from sealyard.model.safe_text import escape_text

_MAX_PASSWORD_LENGTH = 4096
_PURPOSE_HELP = f"what the signing key can sign: {', '.join(KeyPurpose)}; by default {KeyPurpose.BOTH}"
_GENERATED_PURPOSE_HELP = f"{_PURPOSE_HELP}, or {KeyPurpose.DATA} if the algorithm signs digests (generated keys only)"
_EXISTING_KEY_HELP = (
    "existing key (requires permission to UPDATE keys, or every device configuration that uses it) for the algorithm"
    " with the same NAME; by default a new key is generated"
)
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
        add_command(subcommands, "certificates", _print_certificates, "Print the certificates of a device's keys (PEM)")
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

    subcommands = add_command_group(commands, "key", "Manage the keys of the workspace")
    add_command(subcommands, "list", _list_keys, "List keys (public information only)")
    import_parser = add_command(
        subcommands, "import", _import, "Import a key (PEM, PKCS#12, or raw or hexadecimal AES)"
    )
    import_parser.add_argument("uri", metavar="URI", help="name of the key, for example local:gateway-sign")
    import_parser.add_argument("--file", metavar="FILE", type=Path, required=True, help="the key file")
    import_parser.add_argument("--kind", metavar="KIND", type=choice(KeyType), required=True, help=", ".join(KeyType))
    import_parser.add_argument(
        "--purpose", metavar="PURPOSE", type=choice(KeyPurpose), default=KeyPurpose.BOTH, help=_PURPOSE_HELP
    )
    import_parser.add_argument("--certificate", metavar="FILE", type=Path, help="certificate of the key (PEM or DER)")
    import_parser.add_argument(
        "--password-file", metavar="FILE", type=Path, help="file whose first line is the password of the key file"
    )
    rotate_parser = add_command(
        subcommands, "rotate", _rotate, "Create a new version of a key and of the device configurations that use it"
    )
    rotate_parser.add_argument("uri", metavar="URI", help="name of the key, see `sealyard key list`")


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
            option, metavar="[NAME=]URI", type=named(str), action="append", default=[], help=_EXISTING_KEY_HELP
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
    encryption_uris = _key_uris("--encryption", args.encryption, args.encryption_key)
    signing_uris = _key_uris("--signing", args.signing, args.signing_key)
    request = DeviceRequest(
        name=args.name,
        encryption_keys=tuple(
            EncryptionKeyRequest(algorithm=algorithm, uri=encryption_uris.get(name), name=name)
            for name, algorithm in args.encryption
        ),
        signing_keys=tuple(
            SigningKeyRequest(algorithm=algorithm, uri=signing_uris.get(name), name=name)
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


def _key_uris(option: str, algorithms: Sequence[tuple[str, object]], uris: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the pairs of key name and URI in ``uris`` as a dictionary.

    Raises :class:`UsageError` unless each name is unique and matches exactly one of ``algorithms``, the values of
    ``option``.
    """
    names = [name for name, _ in algorithms]
    for name, uri in uris:
        if names.count(name) != 1 or [name for name, _ in uris].count(name) != 1:
            raise UsageError(
                f"{option}-key {escape_text(uri, 100)} does not belong to exactly one key.",
                f"Give both options the same name: {option} NAME=ALGORITHM {option}-key NAME=URI.",
            )
    return dict(uris)


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
            *(("signing", _format_config_key(key)) for key in device.signing_keys),
            ("format", device.format),
            ("approvals", device.approvals_required),
            ("link expires after", format_duration(device.link_ttl_seconds)),
            ("retention", format_duration(device.retention_seconds)),
        )
    )
    return [*lines, *(f"warning: {warning}" for warning in device.warnings)]


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
        pem = certificate.certificate
        ctx.out.document(pem if pem.endswith("\n") else f"{pem}\n")
    return ExitCode.OK


async def _export_key(ctx: Context) -> int:
    async with ctx.open_writer("device export-key") as client:
        path = await client.export_device_key(
            ctx.args.name, ctx.args.out, encryption_key=ctx.args.encryption_key, confirmed=ctx.args.yes
        )
    ctx.out.result({"path": str(path)}, (f"Exported the key to {path}. Anyone with this file can decrypt packages.",))
    return ExitCode.OK


# ---- keys


async def _list_keys(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        keys = await client.keys()
        warnings = (await client.workspace()).warnings
    rows = [
        (
            key.uri,
            key.kind,
            key.purpose,
            key.current.version,
            key.current.origin,
            format_time(key.current.certificate_expires_at),
        )
        for key in keys
    ]
    headers = ("KEY", "KIND", "PURPOSE", "VERSION", "ORIGIN", "CERTIFICATE EXPIRES")
    ctx.out.result(keys, format_table(headers, rows, "No keys."))
    for warning in warnings:
        ctx.out.warn(f"warning: {warning}")
    return ExitCode.OK


async def _import(ctx: Context) -> int:
    args = ctx.args
    request = KeyImport(
        uri=args.uri,
        path=str(args.file),
        kind=args.kind,
        purpose=args.purpose,
        password=_read_password(args.password_file, args.file),
        certificate=str(args.certificate) if args.certificate else None,
    )
    async with ctx.open_writer("key import") as client:
        key = await client.import_key(request)
    _print_key(ctx, key)
    return ExitCode.OK


async def _rotate(ctx: Context) -> int:
    async with ctx.open_writer("key rotate") as client:
        key = await client.rotate_key(ctx.args.uri)
    _print_key(ctx, key)
    if len(key.versions) > 1 and key.versions[-2].origin == "imported":
        ctx.out.warn("warning: The new version has a self-signed certificate; the previous one was imported.")
    return ExitCode.OK


def _print_key(ctx: Context, key: KeyInfo) -> None:
    text = f"{key.uri} version {key.current.version}: {key.kind}, {key.current.origin}, purpose {key.purpose}"
    lines = [text, f"fingerprint {key.current.fingerprint}"]
    if key.current.certificate_expires_at is not None:
        lines.append(f"certificate expires {format_time(key.current.certificate_expires_at)}")
    ctx.out.result(key, lines)
    if warning := certificate_warning(key, key.current, datetime.now(UTC)):
        ctx.out.warn(f"warning: {warning}")


def _read_password(password_file: Path | None, key_file: Path) -> str | None:
    """Return the password of a key file, from the password file or a prompt; None if there is none.

    The password is never a command-line argument, because other users of the machine could see it.
    """
    if password_file is not None:
        return _read_first_line(password_file)
    if is_interactive() and _looks_encrypted(key_file):
        return ask_passphrase(f"Password of {escape_text(key_file.name)}: ") or None
    return None


def _read_first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline(_MAX_PASSWORD_LENGTH).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"Cannot read the password file {escape_text(str(path))}.", "Use a text file with the password."
        ) from error


def _looks_encrypted(path: Path) -> bool:
    """Return whether a key file probably needs a password, that is, whether it is PKCS#12 or encrypted PEM."""
    try:
        with path.open("rb") as file:
            start = file.read(_MAX_PASSWORD_LENGTH)
            return b"ENCRYPTED" in start or is_pkcs12(start)
    except OSError:
        return False
