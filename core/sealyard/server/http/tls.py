"""The server's TLS certificate, which can be reloaded after a renewal."""

from __future__ import annotations

import ssl
from pathlib import Path

from sealyard.model.errors import StorageError, UsageError
from sealyard.model.safe_text import escape_text


class TlsCertificate:
    """A certificate and its private key in PEM files.

    A listener uses :attr:`context` for its whole life; each handshake uses the files as they were last loaded.
    """

    def __init__(self, certificate: str, key: str) -> None:
        """Load the files. ``key`` can be empty if the certificate file contains the key.

        Raises :class:`UsageError` or :class:`StorageError`.
        """
        self._certificate = certificate
        self._key = key or certificate
        self._current = self._load()
        self.context = self._load()
        self.context.sni_callback = self._apply

    def reload(self) -> None:
        """Load the files again. Raises :class:`UsageError` or :class:`StorageError` and keeps the old certificate."""
        self._current = self._load()

    def _apply(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Set the current context. OpenSSL calls this in each handshake, with or without SNI (RFC 6066, section 3)."""
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        certificate, key = self._certificate, self._key
        if not certificate:
            raise UsageError("Missing TLS certificate for the private key.", "Set --tls-certificate.")
        _require_readable(certificate, "certificate")
        _require_readable(key, "private key")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(certificate, key, password=_no_passphrase)
        except ssl.SSLError as error:
            raise UsageError(
                f"Invalid TLS certificate {escape_text(certificate)} with private key {escape_text(key)}:"
                f" {escape_text(error.reason or 'not PEM')}.",
                "Use PEM files: the server's certificate first, then the intermediate certificates.",
            ) from error
        return context


def _no_passphrase() -> str:
    """Reject an encrypted key, instead of OpenSSL's prompt, which would block the start of the server."""
    raise UsageError("The private key of the certificate is encrypted.", "Use a key without a passphrase.")


def _require_readable(path: str, what: str) -> None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise StorageError(
            f"Cannot read the {what} {escape_text(path)}: {error.strerror}.", "Check the path and its permissions."
        ) from error
