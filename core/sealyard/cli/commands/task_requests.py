"""Requests for tasks, built from the arguments of ``package``, ``encrypt`` and ``sign``."""

from __future__ import annotations

import base64
import binascii
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from msgspec import UNSET

from sealyard.model.errors import InvalidInputError, UsageError
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile

MAX_MESSAGE_BYTES = 1024 * 1024
SHA256_BYTES = 32


def package_files(args: Namespace) -> list[tuple[Path, str | None]]:
    """Return the firmware and then the metadata files, each with its expected SHA-256.

    Raises :class:`UsageError` unless there is a digest for each firmware file or none.
    """
    if args.sha256 and len(args.sha256) != len(args.firmware):
        raise UsageError(
            f"Number of digests ({len(args.sha256)}) and firmware files ({len(args.firmware)}) differ.",
            "Specify one --sha256 for each --firmware, in the same order.",
        )
    digests: Sequence[str | None] = args.sha256 or [None] * len(args.firmware)
    return [*zip(args.firmware, digests, strict=True), *((path, None) for path in args.metadata)]


def build_package_request(args: Namespace, files: Sequence[InputFile]) -> PackageRequest:
    """Build the request. ``files``: the files of :func:`package_files`, in the same order."""
    return PackageRequest(
        config=args.device,
        firmware=tuple(files[: len(args.firmware)]),
        metadata=tuple(files[len(args.firmware) :]),
        name=args.name,
        content_type=args.content_type,
        client_token=args.client_token,
    )


def build_encryption_request(args: Namespace, file: InputFile) -> EncryptionRequest:
    return EncryptionRequest(
        config=args.device,
        file=file,
        encryption_key=args.encryption_key or UNSET,
        name=args.name,
        content_type=args.content_type,
        client_token=args.client_token,
    )


def build_signing_request(args: Namespace) -> SigningRequest:
    """Build the request with the message that it reads, or the digest.

    Raises :class:`InvalidInputError` if the message cannot be read, and :class:`UsageError` if the digest is invalid.
    """
    is_digest = args.file is None
    return SigningRequest(
        config=args.device,
        message=_decode_digest(args.digest_base64) if is_digest else _read_message(args.file),
        is_digest=is_digest,
        file_name="" if is_digest else args.file.name,
        name=args.name,
        content_type=args.content_type,
        client_token=args.client_token,
    )


def _read_message(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte more than the maximum, so that a longer message is rejected instead of truncated.
            return file.read(MAX_MESSAGE_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(
            f"Cannot read {escape_text(str(path))}: {error.strerror}.", "Check the path and its permissions."
        ) from error


def _decode_digest(text: str) -> bytes:
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != SHA256_BYTES:
        raise UsageError(
            "--digest-base64 is not a SHA-256 digest.",
            "Encode its 32 bytes in Base64, for example: openssl dgst -sha256 -binary FILE | base64",
        )
    return digest
