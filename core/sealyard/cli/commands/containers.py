"""``sealyard verify`` and ``extract``: verify and extract containers without a workspace."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from sealyard.cli.arguments import Commands, add_command, input_path
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields
from sealyard.model.errors import ContainerError, InvalidInputError
from sealyard.model.formatting import format_count, format_size_exact, format_time
from sealyard.model.safe_text import escape_text

if TYPE_CHECKING:
    from sealyard.containers.format import ContainerFormat, Verification

_MAX_MAGIC_BYTES = 64
_MAX_SMALL_FILE_BYTES = 1024 * 1024
_HEX_PATTERN = re.compile(rb"([0-9A-Fa-f]{2})+")


def add_commands(commands: Commands) -> None:
    verify_parser = add_command(commands, "verify", _verify, "Verify the signature of a container")
    extract_parser = add_command(commands, "extract", _extract, "Verify and decrypt a container, and extract its files")
    for parser in (verify_parser, extract_parser):
        parser.add_argument("container", metavar="CONTAINER", type=input_path, help="the container file")
        parser.add_argument(
            "--certificate", metavar="FILE", type=input_path, required=True, help="certificate of the signer (PEM)"
        )
        parser.add_argument(
            "--strict", action="store_true", help="reject a certificate that is expired or not yet valid"
        )
    extract_parser.add_argument(
        "--key", metavar="FILE", type=input_path, required=True, help="device key: raw bytes or hexadecimal digits"
    )
    extract_parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for the extracted files")
    extract_parser.add_argument(
        "--split-metadata", action="store_true", help="extract metadata files separately, with their original names"
    )


def _verify(ctx: Context) -> int:
    args = ctx.args
    certificate = _read_small_file(args.certificate)
    with _open_file(args.container) as source:
        verification = _verify_source(ctx, source, certificate)
    ctx.out.result(verification, _format_verification(verification))
    return ExitCode.OK


def _extract(ctx: Context) -> int:
    from sealyard.crypto.ciphers import AesCipher

    args = ctx.args
    certificate, key = _read_small_file(args.certificate), _parse_key(_read_small_file(args.key))
    with _open_file(args.container) as source:
        container_format = _detect_format(source)
        cipher = AesCipher(container_format.encryption_of(source), key)
        verification = _verify_source(ctx, source, certificate)
        paths = container_format.extract(
            source,
            certificate,
            cipher,
            args.out,
            strict=args.strict,
            split_metadata=args.split_metadata,
            progress=ctx.out.progress.counter("extracting", 2 * verification.size),
        )
    files = [str(path) for path in paths]
    ctx.out.result({**msgspec.to_builtins(verification), "files": files}, [*_format_verification(verification), *files])
    return ExitCode.OK


def _verify_source(ctx: Context, source: BinaryIO, certificate: bytes) -> Verification:
    progress = ctx.out.progress.counter("verifying", source.seek(0, 2))
    return _detect_format(source).verify(source, certificate, strict=ctx.args.strict, progress=progress)


def _detect_format(source: BinaryIO) -> ContainerFormat:
    from sealyard.containers.registry import get_format, sniff_format

    source.seek(0)
    name = sniff_format(source.read(_MAX_MAGIC_BYTES))
    source.seek(0)
    if name is None:
        raise ContainerError("Unknown container format.", "Check that the file is a complete container.", part="header")
    return get_format(name)


def _format_verification(verification: Verification) -> list[str]:
    not_before, not_after = verification.certificate_not_before, verification.certificate_not_after
    lines = format_fields(
        (
            ("container", f"{verification.format}, verified"),
            ("signed by", f"{verification.certificate_subject}, {verification.signing}"),
            ("certificate", f"valid from {format_time(not_before)} to {format_time(not_after)}"),
            ("encryption", verification.encryption),
            ("segments", ", ".join(format_count(segment.length, "byte") for segment in verification.segments)),
            ("metadata", format_count(verification.metadata_length, "byte")),
            ("size", format_size_exact(verification.size)),
            ("sha256", verification.sha256),
        )
    )
    return [*lines, *(f"warning: {warning}" for warning in verification.warnings)]


def _open_file(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable_file_error(path, error) from error


def _read_small_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_SMALL_FILE_BYTES)
    except OSError as error:
        raise _unreadable_file_error(path, error) from error


def _unreadable_file_error(path: Path, error: OSError) -> InvalidInputError:
    return InvalidInputError(
        f"Cannot read {escape_text(str(path))}: {error.strerror}.", "Check the path and its permissions."
    )


def _parse_key(data: bytes) -> bytes:
    """Return the key in the contents of a key file, decoded if they consist of hexadecimal digits.

    A file of hexadecimal digits is never used as raw bytes; ``sealyard key import`` reads keys in the same way.
    """
    digits = _HEX_PATTERN.fullmatch(data.strip())
    return bytes.fromhex(digits[0].decode()) if digits else data
