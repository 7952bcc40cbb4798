"""``sealyard key``: the keys of the workspace."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from sealyard.cli.arguments import Commands, add_command, add_command_group, choice, input_path
from sealyard.cli.context import Context, ask_passphrase, is_interactive
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_table
from sealyard.client.key_files import read_key_file
from sealyard.keys.pkcs12 import is_pkcs12
from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.backend_keys import ProviderStatus
from sealyard.model.capability_format import format_capabilities, format_wrapping
from sealyard.model.certificate_validity import certificate_warnings
from sealyard.model.errors import InvalidInputError, NotFoundError, error_from_info
from sealyard.model.formatting import format_time
from sealyard.model.hints import Hint, HintCode
from sealyard.model.keys import KeyInfo, KeyVersion
from sealyard.model.requests import KeyGeneration, KeyImport, KeyRegistration
from sealyard.model.safe_text import escape_text

PURPOSE_HELP = f"what the signing key can sign: {', '.join(KeyPurpose)}; by default {KeyPurpose.BOTH}"
WRAP_HELP = "key in a token or key service that wraps the AES key, see `sealyard key list`"

_MAX_PASSWORD_LENGTH = 4096
_URI_HELP = "name of the key, see `sealyard key list`"


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(commands, "key", "Manage the keys of the workspace")
    list_parser = add_command(subcommands, "list", _list_keys, "List keys (public information only)")
    list_parser.add_argument(
        "--provider", metavar="NAME", help="list the keys of this token or key service instead, registered or not"
    )
    add_command(subcommands, "providers", _list_providers, "Test the tokens and key services that are set up")
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
    import_parser.add_argument("--wrap-with", metavar="URI", help=WRAP_HELP)
    _add_provider_commands(subcommands)
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


def _add_provider_commands(subcommands: Commands) -> None:
    register_parser = add_command(
        subcommands, "register", _register, "Register a key that a token or key service has already"
    )
    register_parser.add_argument("uri", metavar="URI", help="name of the key, for example vault:transit/gateway-sign")
    register_parser.add_argument("--kind", metavar="KIND", type=choice(KeyType), help="type of the key; by default any")
    register_parser.add_argument(
        "--purpose", metavar="PURPOSE", type=choice(KeyPurpose), default=KeyPurpose.BOTH, help=PURPOSE_HELP
    )
    register_parser.add_argument(
        *("--certificate", "--chain"),
        metavar="FILE",
        type=input_path,
        help="certificate of the key, with its issuers in any order (PEM, DER or PKCS#7)",
    )
    generate_parser = add_command(
        subcommands, "generate", _generate, "Generate a key in a token or key service, or a local key"
    )
    generate_parser.add_argument("uri", metavar="URI", help="name of the new key, which selects where it is generated")
    generate_parser.add_argument(
        *("--kind", "--type"), metavar="KIND", type=choice(KeyType), required=True, help=", ".join(KeyType)
    )
    generate_parser.add_argument(
        "--purpose", metavar="PURPOSE", type=choice(KeyPurpose), default=KeyPurpose.BOTH, help=PURPOSE_HELP
    )
    generate_parser.add_argument("--wrap-with", metavar="URI", help=WRAP_HELP)


async def _list_providers(ctx: Context) -> int:
    async with ctx.open_writer("key providers") as client:
        providers = await client.key_providers()
    rows = [(provider.section, provider.scheme, _format_state(provider)) for provider in providers]
    ctx.out.result(providers, format_table(("PROVIDER", "SCHEME", "STATE"), rows, "No tokens or key services."))
    for provider in providers:
        if provider.error is not None:
            ctx.out.warn(f"warning: {provider.section}: {error_from_info(provider.error)}")
    return ExitCode.OK


def _format_state(provider: ProviderStatus) -> str:
    return "works" if provider.error is None else "does not work"


async def _list_provider_keys(ctx: Context) -> int:
    async with ctx.open_writer("key list") as client:
        providers = await client.provider_keys(ctx.args.provider)
    for provider in providers:
        if provider.error is not None:
            raise error_from_info(provider.error)
    rows = [
        (f"{provider.scheme}:{key.name}", key.kind, key.label, "yes" if key.is_registered else "no")
        for provider in providers
        for key in provider.keys
    ]
    headers = ("KEY", "KIND", "LABEL", "REGISTERED")
    ctx.out.result(providers, format_table(headers, rows, "No keys that can be registered."))
    return ExitCode.OK


async def _list_keys(ctx: Context) -> int:
    if ctx.args.provider:
        return await _list_provider_keys(ctx)
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
    lines = format_table(headers, [_build_version_row(version) for version in key.versions], "")
    ctx.out.result(key, (*lines, *_format_details(key)))
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
        wrapping_key=args.wrap_with,
    )
    async with ctx.open_writer("key import") as client:
        key = await client.import_key(request)
    _print_key(ctx, key)
    return ExitCode.OK


async def _register(ctx: Context) -> int:
    args = ctx.args
    certificate = await asyncio.to_thread(read_key_file, args.certificate) if args.certificate else None
    request = KeyRegistration(uri=args.uri, kind=args.kind, purpose=args.purpose, certificate=certificate)
    async with ctx.open_writer("key register") as client:
        key = await client.register_key(request)
    _print_key(ctx, key)
    return ExitCode.OK


async def _generate(ctx: Context) -> int:
    args = ctx.args
    request = KeyGeneration(uri=args.uri, kind=args.kind, purpose=args.purpose, wrapping_key=args.wrap_with)
    async with ctx.open_writer("key generate") as client:
        key = await client.generate_key(request)
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
    lines += _format_details(key)
    ctx.out.result(key, lines)
    for warning in certificate_warnings(key, key.current, datetime.now(UTC)):
        ctx.out.warn(f"warning: {warning}")


def _format_details(key: KeyInfo) -> list[str]:
    return [escape_text(line) for line in (format_wrapping(key.current), *format_capabilities(key)) if line]


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
