"""The server's TLS certificate, which can be reloaded after a renewal."""

from __future__ import annotations

import ssl
from pathlib import Path

from sealyard.model.errors import StorageError, UsageError
from sealyard.model.safe_text import escape_text


class TlsCertificate:
    """A certificate and its private key in PEM files.

    A listener keeps the same :attr:`context` until it stops; each handshake uses the most recently loaded certificate.
    """

    def __init__(self, certificate: str, key: str) -> None:
        """Load the PEM files. ``key`` can be empty if the certificate file contains the key.

        Raises :class:`UsageError` if ``certificate`` is empty or if the certificate or key is invalid or encrypted, and
        :class:`StorageError` if a file cannot be read.
        """
        self._certificate = certificate
        self._key = key or certificate
        self._current_context = self._load()
        self.context = self._load()
        self.context.sni_callback = self._use_current_context

    def reload(self) -> None:
        """Reload the certificate and key from the same files.

        If that fails, keeps the old certificate and raises the same errors as the constructor.
        """
        self._current_context = self._load()

    def _use_current_context(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Select the current certificate.

        OpenSSL calls this in each handshake, even if the client sends no server name (SNI; RFC 6066, section 3).
        """
        connection.context = self._current_context

    def _load(self) -> ssl.SSLContext:
        certificate, key = self._certificate, self._key
        if not certificate:
            raise UsageError("Missing TLS certificate for the private key.", "Set the certificate of the key.")
        _require_readable(certificate, "certificate")
        _require_readable(key, "private key")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        load_certificate(context, certificate, key)
        return context


def load_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load a certificate and its private key from PEM files. Raises :class:`UsageError` if they cannot be used."""
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except ssl.SSLError as error:
        raise UsageError(
            f"Invalid TLS certificate {escape_text(certificate)} with private key {escape_text(key)}:"
            f" {escape_text(error.reason or 'not PEM')}.",
            "Use PEM files: the server's certificate first, then the intermediate certificates.",
        ) from error


def _no_passphrase() -> str:
    """Reject an encrypted key. By default, OpenSSL would prompt for the passphrase and block server startup."""
    raise UsageError("The private key of the certificate is encrypted.", "Use a key without a passphrase.")


def _require_readable(path: str, file_kind: str) -> None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise StorageError(
            f"Cannot read the {file_kind} {escape_text(path)}: {error.strerror}.", "Check the path and its permissions."
        ) from error
