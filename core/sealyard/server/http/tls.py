"""The certificate that a server shows: of today, and after it was renewed, for none is valid for long."""

from __future__ import annotations

import ssl
from pathlib import Path

from sealyard.model.errors import StorageError, UsageError
from sealyard.model.safe_text import escape_text


class TlsCertificate:
    """Two PEM files. What listens takes :attr:`context` once; each handshake shows what was read last."""

    def __init__(self, certificate: str, key: str) -> None:
        """Empty ``key``: it is in the file of the certificate. Raises what :meth:`renew` does."""
        self._certificate = certificate
        self._key = key or certificate
        self._newest = self._read()
        self.context = self._read()
        self.context.sni_callback = self._apply

    def reload(self) -> None:
        """Reads both again. Raises :class:`UsageError`, :class:`StorageError`: then the old one is shown on."""
        self._newest = self._read()

    def _apply(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Asked in each handshake, whether or not the client names a server (RFC 6066, section 3)."""
        connection.context = self._newest

    def _read(self) -> ssl.SSLContext:
        certificate, key = self._certificate, self._key
        if not certificate:
            raise UsageError("There is a private key and no certificate.", "Name it by --tls-certificate.")
        _require_readable(certificate, "certificate")
        _require_readable(key, "private key")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(certificate, key, password=_no_passphrase)
        except ssl.SSLError as error:
            raise UsageError(
                f"{escape_text(certificate)} and {escape_text(key)} are no certificate and its private key"
                f" ({escape_text(error.reason or 'no PEM')}).",
                "Give both in PEM; the certificate first, then those above it.",
            ) from error
        return context


def _no_passphrase() -> str:
    """Nobody is asked for one while a server starts."""
    raise UsageError("The private key of the certificate lies under a passphrase.", "Give one without.")


def _require_readable(path: str, what: str) -> None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise StorageError(
            f"The {what} {escape_text(path)} cannot be read: {error.strerror}.", "Name another."
        ) from error
