"""``sealyard key``: the keys of the workspace."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sealyard.cli.arguments import Commands, add_command, add_command_group, choice, input_path
from sealyard.cli.context import Context, ask_passphrase, is_interactive
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_table
from sealyard.keys.pkcs12 import is_pkcs12
from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.certificate_validity import certificate_warnings
from sealyard.model.errors import InvalidInputError, NotFoundError
from sealyard.model.formatting import format_time
from sealyard.model.hints import Hint, HintCode
from sealyard.model.keys import KeyInfo, KeyVersion
from sealyard.model.requests import KeyImport
from sealyard.model.safe_text import escape_text

PURPOSE_HELP = f"what the signing key can sign: {', '.join(KeyPurpose)}; by default {KeyPurpose.BOTH}"

_MAX_PASSWORD_LENGTH = 4096
_URI_HELP = "name of the key, see `sealyard key list`"


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(commands, "key", "Manage the keys of the workspace")
    add_command(subcommands, "list", _list_keys, "List keys (public information only)")
    show_parser = add_command(subcommands, "show", _show, "Show the versions of a key and their certificates")
    show_parser.add_argument("uri", metavar="URI", help=_URI_HELP)
    import_parser = add_command(
        subcommands, "import", _import, "Import a key (PEM, PKCS#12, or raw or hexadecimal AES)"
    )
    import_parser.add_argument("uri", metavar="URI", help="name of the key, for example local:gateway-sign")
    import_parser.add_argument("--file", metavar="FILE", type=input_path, required=True, help="the key file")
    import_parser.add_argument("--kind", metavar="KIND", type=choice(KeyType), required=True, help=", ".join(KeyType))
    import_parser.add_argument(
        "--purpose", metavar="PURPOSE", type=choice(KeyPurpose), default=KeyPurpose.BOTH, help=PURPOSE_HELP
    )
    import_parser.add_argument(
        "--certificate", metavar="FILE", type=input_path, help="certificate of the key (PEM or DER)"
    )
    import_parser.add_argument(
        "--password-file", metavar="FILE", type=input_path, help="file whose first line is the password of the key file"
    )
    rotate_parser = add_command(
        subcommands, "rotate", _rotate, "Create a new version of a key and of the device configurations that use it"
    )
    rotate_parser.add_argument("uri", metavar="URI", help=_URI_HELP)
    certificate_parser = add_command(
        subcommands,
        "certificate",
        _import_certificate,
        "Create a version of a key with the certificate that an authority issued for it",
        aliases=("import-certificate",),
    )
    certificate_parser.add_argument("uri", metavar="KEY", help=_URI_HELP)
    certificate_parser.add_argument(
        *("--chain", "--file"),
        metavar="FILE",
        type=input_path,
        required=True,
        help="the certificate and its issuers in any order, with or without the root (PEM, DER or PKCS#7)",
    )
    request_parser = add_command(
        subcommands,
        "csr",
        _print_certificate_request,
        "Print a request (PKCS#10) to a certificate authority for a certificate of a key",
        aliases=("certificate-request",),
    )
    request_parser.add_argument("uri", metavar="KEY", help=_URI_HELP)


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


async def _show(ctx: Context) -> int:
    uri = ctx.args.uri
    async with ctx.open_reader() as client:
        key = next((key for key in await client.keys() if key.uri == uri), None)
    if key is None:
        raise NotFoundError(f"Key {escape_text(uri, 100)} not found.", Hint.of(HintCode.LIST_KEYS))
    headers = ("VERSION", "ORIGIN", "KEY FINGERPRINT", "ISSUER", "SERIAL NUMBER", "VALID FROM", "EXPIRES", "CHAIN")
    ctx.out.result(key, format_table(headers, [_build_version_row(version) for version in key.versions], ""))
    return ExitCode.OK


def _build_version_row(version: KeyVersion) -> tuple[object, ...]:
    from sealyard.crypto.certificates import describe_certificate  # imported here, so that other commands start faster

    row = (version.version, version.origin, version.fingerprint[:16])
    if version.certificate is None:
        return (*row, "", "", "", "", "")
    details = describe_certificate(version.certificate)
    validity = (format_time(details.valid_from), format_time(details.expires_at))
    return (*row, details.issuer, details.serial_number, *validity, len(version.certificate_chain))


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
    if len(key.versions) > 1 and not key.versions[-2].is_generated:
        ctx.out.warn("warning: The new version has a self-signed certificate; the previous one was imported.")
    return ExitCode.OK


async def _import_certificate(ctx: Context) -> int:
    async with ctx.open_writer("key certificate") as client:
        key = await client.import_certificate(ctx.args.uri, ctx.args.chain)
    _print_key(ctx, key)
    return ExitCode.OK


async def _print_certificate_request(ctx: Context) -> int:
    async with ctx.open_writer("key csr") as client:
        request = await client.create_certificate_request(ctx.args.uri)
    if ctx.out.as_json:
        ctx.out.result({"certificateRequest": request}, ())
    else:
        ctx.out.document(request)
    return ExitCode.OK


def _print_key(ctx: Context, key: KeyInfo) -> None:
    text = f"{key.uri} version {key.current.version}: {key.kind}, {key.current.origin}, purpose {key.purpose}"
    lines = [text, f"fingerprint {key.current.fingerprint}"]
    if key.current.certificate_expires_at is not None:
        lines.append(f"certificate expires {format_time(key.current.certificate_expires_at)}")
    lines += [
        f"issuer {escape_text(issuer.subject)} expires {format_time(issuer.expires_at)}"
        for issuer in key.current.issuer_certificates
    ]
    ctx.out.result(key, lines)
    for warning in certificate_warnings(key, key.current, datetime.now(UTC)):
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
