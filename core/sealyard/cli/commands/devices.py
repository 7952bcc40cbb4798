"""`sealyard device` and `key`: device configurations and the keys behind them."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from sealyard.cli.arguments import Commands, choice, command, duration, group
from sealyard.cli.context import Context, ask_passphrase, is_interactive
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields, format_table
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.device_configs import DEFAULT_FORMAT, DEFAULT_LINK_TTL, DEFAULT_RETENTION_SECONDS, DeviceConfig
from sealyard.model.errors import InvalidInputError
from sealyard.model.formatting import format_duration, format_time
from sealyard.model.keys import KeyInfo
from sealyard.model.requests import DeviceRequest, DeviceUpdate, KeyImport
from sealyard.model.safe_text import escape_text

_MAX_PASSWORD_LENGTH = 4096
_PURPOSES = f"what the signing key may sign: {', '.join(KeyPurpose)}; by default {KeyPurpose.BOTH}"
_NAMED = "a key that is there; takes the right to UPDATE keys, or every configuration that uses it"


def add(commands: Commands) -> None:
    family = group(commands, "device", "Device configurations: keys, algorithms and terms of packages.")
    _add_create(family)
    _add_update(family)
    command(family, "list", _list, "Lists them.")
    _name(command(family, "show", _show, "Shows one.")).add_argument("--version", metavar="N", type=int)
    _name(command(family, "certificates", _certificates, "Prints its signing certificates (PEM)."))
    exporting = _name(
        command(family, "export-key", _export_key, "Writes its symmetric key, to provision devices with.")
    )
    exporting.add_argument("--out", metavar="FILE", type=Path, required=True, help="a new file, raw bytes, mode 0600")
    exporting.add_argument("--yes", action="store_true", help="it is meant to leave")

    family = group(commands, "key", "The keys of the workspace.")
    command(family, "list", _keys, "Lists them; nothing of them is secret here.")
    importing = command(family, "import", _import, "Takes in a key: PEM, PKCS#12, raw or hexadecimal AES.")
    importing.add_argument("uri", metavar="URI", help="its name from now on: local:gateway-sign")
    importing.add_argument("--file", metavar="F", type=Path, required=True)
    importing.add_argument("--kind", metavar="KIND", type=choice(KeyType), required=True, help=", ".join(KeyType))
    importing.add_argument(
        "--purpose", metavar="PURPOSE", type=choice(KeyPurpose), default=KeyPurpose.BOTH, help=_PURPOSES
    )
    importing.add_argument("--certificate", metavar="C", type=Path, help="its certificate (PEM or DER)")
    importing.add_argument("--password-file", metavar="P", type=Path, help="the first line is the key file's password")
    rotating = command(family, "rotate", _rotate, "Makes its next version; its configurations get new versions too.")
    rotating.add_argument("uri", metavar="URI")


def _add_create(family: Commands) -> None:
    making = _name(command(family, "create", _create, "Makes one, with keys of its own where none are named."))
    making.add_argument(
        "--encryption",
        metavar="ALG",
        type=choice(EncryptionAlgorithm),
        required=True,
        help=", ".join(EncryptionAlgorithm),
    )
    making.add_argument(
        "--signing", metavar="ALG", type=choice(SigningAlgorithm), required=True, help=", ".join(SigningAlgorithm)
    )
    making.add_argument("--use", metavar="SUBJECT", nargs="+", action="extend", default=[], help="who may ask")
    making.add_argument(
        "--approve", metavar="SUBJECT", nargs="+", action="extend", default=[], help="who may approve; by default you"
    )
    making.add_argument("--approvals", metavar="N", type=int, default=1, help="how many must approve")
    making.add_argument("--format", default=DEFAULT_FORMAT, help="the container format")
    making.add_argument("--link-ttl", metavar="TIME", type=duration, default=DEFAULT_LINK_TTL)
    making.add_argument("--retention", metavar="TIME", type=duration, default=DEFAULT_RETENTION_SECONDS)
    making.add_argument(
        "--purpose", metavar="PURPOSE", type=choice(KeyPurpose), default=KeyPurpose.BOTH, help=_PURPOSES
    )
    making.add_argument("--encryption-key", metavar="URI", help=_NAMED)
    making.add_argument("--signing-key", metavar="URI", help=_NAMED)
    making.add_argument("--description", default="")


def _add_update(family: Commands) -> None:
    changing = _name(command(family, "update", _update, "Makes a new version of one; what is not given stays."))
    changing.add_argument("--approvals", metavar="N", type=int)
    changing.add_argument("--format")
    changing.add_argument("--link-ttl", metavar="TIME", type=duration)
    changing.add_argument("--retention", metavar="TIME", type=duration)
    changing.add_argument("--description")


def _name(parser: ArgumentParser) -> ArgumentParser:
    parser.add_argument("name", metavar="NAME")
    return parser


# ---- device configurations


async def _create(ctx: Context) -> int:
    args = ctx.args
    request = DeviceRequest(
        name=args.name,
        encryption=args.encryption,
        signing=args.signing,
        use=tuple(args.use),
        approve=tuple(args.approve),
        approvals_required=args.approvals,
        format=args.format,
        link_ttl_seconds=args.link_ttl,
        retention_seconds=args.retention,
        purpose=args.purpose,
        description=args.description,
        encryption_key=args.encryption_key,
        signing_key=args.signing_key,
    )
    async with ctx.open_writer("device create") as client:
        device = await client.create_device(request)
    _print_device(ctx, device)
    return ExitCode.OK


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
        (each.name, each.version, each.encryption.algorithm, each.signing.algorithm, each.approvals_required, each.id)
        for each in devices
    ]
    heads = ("NAME", "VERSION", "ENCRYPTION", "SIGNING", "APPROVALS", "ID")
    ctx.out.result(devices, format_table(heads, rows, "There are no device configurations that you may see."))
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
            ("encryption", f"{device.encryption.algorithm} with {device.encryption.uri} v{device.encryption.version}"),
            ("signing", f"{device.signing.algorithm} with {device.signing.uri} v{device.signing.version}"),
            ("format", device.format),
            ("approvals", device.approvals_required),
            ("link time", format_duration(device.link_ttl_seconds)),
            ("retention", format_duration(device.retention_seconds)),
        )
    )
    return [*lines, *(f"warning: {each}" for each in device.warnings)]


async def _certificates(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        found = await client.device_certificates(ctx.args.name)
    if ctx.out.as_json:
        ctx.out.result([{"key": key, "certificate": pem} for key, pem in found], ())
        return ExitCode.OK
    for key, pem in found:
        ctx.out.warn(key)
        ctx.out.document(pem if pem.endswith("\n") else f"{pem}\n")
    return ExitCode.OK


async def _export_key(ctx: Context) -> int:
    async with ctx.open_writer("device export-key") as client:
        path = await client.export_device_key(ctx.args.name, ctx.args.out, confirmed=ctx.args.yes)
    ctx.out.result({"path": str(path)}, (f"The key is in {path}: whoever has it can decrypt. Move it safely.",))
    return ExitCode.OK


# ---- keys


async def _keys(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        keys = await client.keys()
        warnings = (await client.workspace()).warnings
    rows = [
        (each.uri, each.kind, each.purpose, each.current.version, each.current.origin, _expiry(each)) for each in keys
    ]
    ctx.out.result(
        keys, format_table(("KEY", "KIND", "PURPOSE", "VERSION", "ORIGIN", "CERTIFICATE ENDS"), rows, "No keys.")
    )
    for warning in warnings:
        ctx.out.warn(f"warning: {warning}")
    return ExitCode.OK


def _expiry(key: KeyInfo) -> str:
    return format_time(key.current.certificate_expires_at)


async def _import(ctx: Context) -> int:
    args = ctx.args
    request = KeyImport(
        uri=args.uri,
        path=str(args.file),
        kind=args.kind,
        purpose=args.purpose,
        password=_password(args.password_file, args.file),
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
    return ExitCode.OK


def _print_key(ctx: Context, key: KeyInfo) -> None:
    said = f"{key.uri} version {key.current.version}: {key.kind}, {key.current.origin}, for {key.purpose}"
    ctx.out.result(key, (said, f"fingerprint {key.current.fingerprint}"))


def _password(password_file: Path | None, key_file: Path) -> str | None:
    """Never from the command line, where others could read it."""
    if password_file is not None:
        return _first_line(password_file)
    if is_interactive() and _looks_encrypted(key_file):
        return ask_passphrase(f"Password of {escape_text(key_file.name)}: ") or None
    return None


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline(_MAX_PASSWORD_LENGTH).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"The password file {escape_text(str(path))} cannot be read.", "It is a text file with the password."
        ) from error


def _looks_encrypted(path: Path) -> bool:
    """Whether to ask: PKCS#12 mostly has a password, an encrypted PEM says so."""
    if path.suffix.lower() in (".p12", ".pfx"):
        return True
    try:
        with path.open("rb") as file:
            return b"ENCRYPTED" in file.read(_MAX_PASSWORD_LENGTH)
    except OSError:
        return False
