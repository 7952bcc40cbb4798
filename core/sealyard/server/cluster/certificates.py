"""The certificates with which the servers of a cluster authenticate to each other."""

from __future__ import annotations

import ssl

from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text
from sealyard.server.http.tls import load_certificate
from sealyard.server.settings import ClusterSettings


class ClusterCertificates:
    """The certificate of this server for the others, and the authority that issues theirs.

    A listener keeps :attr:`server_context` until it stops; each handshake uses the most recently loaded files.
    """

    def __init__(self, settings: ClusterSettings) -> None:
        """Load the PEM files. Raises :class:`UsageError` if one cannot be read or used."""
        self._settings = settings
        self._current_server_context = self._load(ssl.PROTOCOL_TLS_SERVER)
        self.client_context = self._load(ssl.PROTOCOL_TLS_CLIENT)
        """Context for connections to other servers; :meth:`reload` replaces it."""
        self.server_context = self._load(ssl.PROTOCOL_TLS_SERVER)
        """Context for connections from other servers."""
        self.server_context.sni_callback = self._use_current_context

    def reload(self) -> None:
        """Load the same files again. If that fails, keeps the old ones and raises the errors of the constructor."""
        server_context = self._load(ssl.PROTOCOL_TLS_SERVER)
        self.client_context = self._load(ssl.PROTOCOL_TLS_CLIENT)
        self._current_server_context = server_context

    def _use_current_context(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Select the current files. OpenSSL calls this in each handshake, before it verifies the peer."""
        connection.context = self._current_server_context

    def _load(self, protocol: ssl._SSLMethod) -> ssl.SSLContext:
        """Return a context that requires a certificate of the authority from the peer, and trusts no other."""
        settings = self._settings
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        if protocol is ssl.PROTOCOL_TLS_SERVER:
            # Without session tickets, a server sends nothing before its response, so that an early one is noticed.
            context.num_tickets = 0
        try:
            load_certificate(context, settings.certificate, settings.key)
            context.load_verify_locations(settings.ca)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or "not PEM"
            raise UsageError(
                f"Cannot load the certificates of the cluster: {escape_text(reason)}.",
                "Check cluster.certificate, cluster.key and cluster.ca: their paths, permissions and format.",
            ) from error
        return context
