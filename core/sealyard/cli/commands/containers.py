"""`sealyard verify` and `open`: containers judged and opened with a certificate and a key, without any workspace."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from sealyard.cli.arguments import Commands, command
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields
from sealyard.model.errors import ContainerError, InvalidInputError
from sealyard.model.formatting import format_size, format_time
from sealyard.model.safe_text import escape_text

if TYPE_CHECKING:
    from sealyard.containers.format import ContainerFormat, Verification

_MAX_MAGIC_LENGTH = 64
_MAX_FILE_BYTES = 1024 * 1024
_HEX = re.compile(rb"([0-9A-Fa-f]{2})+")


def add(commands: Commands) -> None:
    verifying = command(commands, "verify", _verify, "Checks a container against the signer's certificate.")
    opening = command(commands, "extract", _extract, "Checks a container, decrypts it and takes it apart.")
    for parser in (verifying, opening):
        parser.add_argument("container", metavar="CONTAINER", type=Path)
        parser.add_argument("--certificate", metavar="PEM", type=Path, required=True)
        parser.add_argument("--strict", action="store_true", help="refuse a certificate that is not valid now")
    opening.add_argument("--key", metavar="FILE", type=Path, required=True, help="raw bytes or hexadecimal digits")
    opening.add_argument("--out", metavar="DIR", type=Path, required=True)
    opening.add_argument("--split-metadata", action="store_true", help="give metadata files their own names again")


def _verify(ctx: Context) -> int:
    args = ctx.args
    certificate = _small_file(args.certificate)
    with _open_file(args.container) as source:
        found = _verified(ctx, source, certificate)
    ctx.out.result(found, _lines(found))
    return ExitCode.OK


def _extract(ctx: Context) -> int:
    from sealyard.crypto.ciphers import AesCipher

    args = ctx.args
    certificate, key = _small_file(args.certificate), _key(_small_file(args.key))
    with _open_file(args.container) as source:
        form = _format_of(source)
        cipher = AesCipher(form.encryption_of(source), key)
        found = _verified(ctx, source, certificate)
        paths = form.extract(
            source,
            certificate,
            cipher,
            args.out,
            strict=args.strict,
            split_metadata=args.split_metadata,
            progress=ctx.out.progress.counter("opening", 2 * found.size),
        )
    value = {**msgspec.to_builtins(found), "files": [str(each) for each in paths]}
    ctx.out.result(value, [*_lines(found), *(str(each) for each in paths)])
    return ExitCode.OK


def _verified(ctx: Context, source: BinaryIO, certificate: bytes) -> Verification:
    progress = ctx.out.progress.counter("verifying", source.seek(0, 2))
    return _format_of(source).verify(source, certificate, strict=ctx.args.strict, progress=progress)


def _format_of(source: BinaryIO) -> ContainerFormat:
    from sealyard.containers.registry import get_format, sniff_format

    source.seek(0)
    name = sniff_format(source.read(_MAX_MAGIC_LENGTH))
    source.seek(0)
    if name is None:
        raise ContainerError(
            "This does not begin like a container of any known format.", "Is it the right file?", part="header"
        )
    return get_format(name)


def _lines(found: Verification) -> list[str]:
    lines = format_fields(
        (
            ("container", f"{found.format}, verifies"),
            ("signed by", f"{found.certificate_subject}, {found.signing}"),
            (
                "certificate",
                f"{format_time(found.certificate_not_before)} to {format_time(found.certificate_not_after)}",
            ),
            ("encryption", found.encryption),
            ("segments", ", ".join(f"{each.length} bytes" for each in found.segments)),
            ("metadata", f"{found.metadata_length} bytes"),
            ("size", f"{format_size(found.size)} ({found.size} bytes)"),
            ("sha256", found.sha256),
        )
    )
    return [*lines, *(f"warning: {each}" for each in found.warnings)]


def _open_file(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error


def _small_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InvalidInputError:
    return InvalidInputError(
        f"{escape_text(str(path))} cannot be read: {error.strerror}.", "Check its path and rights."
    )


def _key(data: bytes) -> bytes:
    """A file of hexadecimal digits is never taken for raw bytes, as when a key is imported."""
    digits = _HEX.fullmatch(data.strip())
    return bytes.fromhex(digits[0].decode()) if digits else data
