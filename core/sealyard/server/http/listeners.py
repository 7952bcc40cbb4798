"""Listeners: uvicorn on a network address with optional TLS, or on the Unix socket of a workspace."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import cast

import uvicorn
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from sealyard.model.errors import UsageError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text
from sealyard.server.http.bodies import BodyMiddleware
from sealyard.server.http.connection_limit import ConnectionLimitedSocket, connection_limit
from sealyard.server.http.peer import PEER_SCOPE_KEY, Peer
from sealyard.server.http.protocol import HEAD_TIMEOUT, LimitedHttpProtocol
from sealyard.server.http.tls import TlsCertificate

KEEP_ALIVE_SECONDS = 75
"""Seconds after which an idle connection is closed."""

HANDSHAKE_TIMEOUT = HEAD_TIMEOUT
"""Timeout for a TLS handshake in seconds. The timeout of the request head starts after the handshake."""

ABORT_TIMEOUT = 5
"""Seconds after which a stopping listener aborts open responses; clients can resume downloads later."""

LOCAL_ABORT_TIMEOUT = 2
"""Like :data:`ABORT_TIMEOUT`, for the Unix socket of a workspace; a user may be waiting for the process to exit."""


class UvicornListener(uvicorn.Server):
    """A uvicorn server that leaves signal handling to its caller."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening as uvicorn does, but with a shorter timeout for TLS handshakes than asyncio's 60 seconds."""
        loop = asyncio.get_running_loop()
        tls = self.config.ssl
        handshake_timeout = HANDSHAKE_TIMEOUT if tls is not None else None
        self.servers = [
            await loop.create_server(
                self._create_protocol,
                sock=sock,
                ssl=tls,
                backlog=self.config.backlog,
                ssl_handshake_timeout=handshake_timeout,
            )
            for sock in sockets or ()
        ]
        self.started = True

    def _create_protocol(self) -> asyncio.Protocol:
        protocol_class = cast("type[LimitedHttpProtocol]", self.config.http_protocol_class)
        return protocol_class(self.config, self.server_state, self.lifespan.state)

    def stop(self) -> None:
        """Make :meth:`serve` stop accepting connections, wait for open responses, and return."""
        self.should_exit = True

    def abort(self) -> None:
        """Make :meth:`serve` return without waiting for open responses, even if it is already waiting."""
        self.force_exit = True


class _UnixPeerProtocol(LimitedHttpProtocol):
    """HTTP on a Unix socket. Sets the client's port to the user id of the peer, as reported by the kernel."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's signature
        super().connection_made(transport)
        sock = cast("socket.socket", self.transport.get_extra_info("socket"))
        _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        self.client = ("", uid)


class _PeerMiddleware:
    """Middleware that stores the :class:`Peer` of a connection in the ASGI scope. Only local listeners use it."""

    def __init__(self, app: ASGIApp, tenant: str) -> None:
        self._app = app
        self._tenant = tenant

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            client = scope["client"]
            assert client is not None
            scope[PEER_SCOPE_KEY] = Peer(uid=client[1], tenant=self._tenant)  # type: ignore[literal-required]
            scope["client"] = None
        await self._app(scope, receive, send)


def local_listener(app: ASGIApp, tenant: str) -> UvicornListener:
    """Create a listener for the Unix socket of a tenant's workspace."""
    config = _build_config(
        _PeerMiddleware(app, tenant), http=_UnixPeerProtocol, timeout_graceful_shutdown=LOCAL_ABORT_TIMEOUT
    )
    return UvicornListener(config)


def network_listener(app: ASGIApp, *, certificate: TlsCertificate | None, proxies: str) -> UvicornListener:
    """Create a listener for a network address.

    ``certificate``: certificate for TLS; None for plain HTTP. ``proxies``: addresses of the proxies whose X-Forwarded-*
    headers are trusted, separated by commas; empty if there are none.
    """
    return UvicornListener(
        _build_config(
            app,
            ssl_context_factory=(lambda *_: certificate.context) if certificate is not None else None,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies or None,
        )
    )


def cluster_listener(app: ASGIApp, tls_context: ssl.SSLContext) -> UvicornListener:
    """Create a listener for the other servers of a cluster, which ``tls_context`` authenticates."""
    return UvicornListener(_build_config(app, ssl_context_factory=lambda *_: tls_context))


def _build_config(app: ASGIApp, **overrides: object) -> uvicorn.Config:
    options = {
        "http": LimitedHttpProtocol,
        "proxy_headers": False,
        "timeout_graceful_shutdown": ABORT_TIMEOUT,
        **overrides,
    }
    return uvicorn.Config(
        BodyMiddleware(app),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        **options,  # type: ignore[arg-type]
    )


def parse_address(text: str) -> tuple[str, int]:
    """Return the host and port of an address such as ``127.0.0.1:8750``, ``[::1]:8750`` or ``localhost:8750``.

    Raises :class:`UsageError` if the address is invalid.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004
        raise UsageError(f"Invalid address {escape_text(text)!r}.", "Use HOST:PORT, for example 127.0.0.1:8750.")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Return whether a host is ``localhost`` or a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_tls_or_loopback(host: str, *, tls: bool, behind_proxy: bool) -> None:
    """Raise :class:`UsageError` if other machines could connect over plain HTTP."""
    if tls or behind_proxy or is_loopback(host):
        return
    raise UsageError(
        f"TLS required on {escape_text(host)}: tokens and firmware would be sent unencrypted.",
        Hint.of(HintCode.ENABLE_TLS),
    )


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address and accepts at most :func:`connection_limit` connections at a time.

    Raises :class:`UsageError` if the address is in use or not available.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = ConnectionLimitedSocket(family, kind, protocol, connection_limit())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(1024)
    except OSError as error:
        raise UsageError(
            f"Cannot listen on {escape_text(host)}:{port}: {escape_text(error.strerror or str(error))}.",
            "Choose another address to listen on.",
        ) from error
    return sock
