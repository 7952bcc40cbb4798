"""Listening: uvicorn over sockets that are opened here, on an address with TLS or on a workspace's own socket."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections.abc import Iterator
from typing import cast

import uvicorn
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text
from sealyard.server.http.bodies import CloseUnreadBodyMiddleware
from sealyard.server.http.connection_limit import ConnectionLimitedSocket, connection_limit
from sealyard.server.http.peer import PEER_SCOPE_KEY, Peer
from sealyard.server.http.protocol import HEAD_TIMEOUT, LimitedHttpProtocol
from sealyard.server.http.tls import TlsCertificate

KEEP_ALIVE_SECONDS = 75
HANDSHAKE_SECONDS = HEAD_TIMEOUT
"""Until a TLS handshake is over; a request's head has its own time behind that."""

ABORT_TIMEOUT = 5
"""How long answers may go on after the last event, before they are cut; clients take them up again."""

LOCAL_CUT_SECONDS = 2
"""The same at a workspace's own socket, where a person waits for the application to end."""


class UvicornListener(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does it, but that a TLS handshake too has to be over in time; asyncio would wait a minute."""
        loop = asyncio.get_running_loop()
        tls = self.config.ssl
        seconds = HANDSHAKE_SECONDS if tls is not None else None
        self.servers = [
            await loop.create_server(
                self._protocol, sock=each, ssl=tls, backlog=self.config.backlog, ssl_handshake_timeout=seconds
            )
            for each in sockets or ()
        ]
        self.started = True

    def _protocol(self) -> asyncio.Protocol:
        made = cast("type[LimitedHttpProtocol]", self.config.http_protocol_class)
        return made(self.config, self.server_state, self.lifespan.state)

    def stop(self) -> None:
        self.should_exit = True

    def abort(self) -> None:
        """Once it stops: waits for no answer any more."""
        self.force_exit = True


class _UnixPeerProtocol(LimitedHttpProtocol):
    """HTTP on a Unix socket: the kernel says whose process is at the other end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        sock = cast("socket.socket", self.transport.get_extra_info("socket"))
        _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        self.client = ("", uid)


class _PeerMiddleware:
    """Only a local listener says who the peer is, and of which tenant: what comes over the network cannot."""

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
    """For the socket of a tenant's workspace."""
    config = _config(_PeerMiddleware(app, tenant), http=_UnixPeerProtocol, timeout_graceful_shutdown=LOCAL_CUT_SECONDS)
    return UvicornListener(config)


def network_listener(app: ASGIApp, *, certificate: TlsCertificate | None, proxies: str) -> UvicornListener:
    """``proxies``: addresses whose forwarding headers are believed; empty: nobody's."""
    return UvicornListener(
        _config(
            app,
            ssl_context_factory=(lambda *_: certificate.context) if certificate is not None else None,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies or None,
        )
    )


def _config(app: ASGIApp, **more: object) -> uvicorn.Config:
    options = {
        "http": LimitedHttpProtocol,
        "proxy_headers": False,
        "timeout_graceful_shutdown": ABORT_TIMEOUT,
        **more,
    }
    return uvicorn.Config(
        CloseUnreadBodyMiddleware(app),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        **options,  # type: ignore[arg-type]
    )


def parse_address(text: str) -> tuple[str, int]:
    """``127.0.0.1:8750``, ``[::1]:8750`` or ``localhost:8750``. Raises :class:`UsageError`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004
        raise UsageError(f"{escape_text(text)} is no address to listen on.", "Write 127.0.0.1:8750.")
    return host, int(port)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_tls_or_loopback(host: str, *, tls: bool, behind_proxy: bool) -> None:
    """Plain HTTP stays on this machine. Raises :class:`UsageError`."""
    if tls or behind_proxy or is_loopback(host):
        return
    raise UsageError(
        f"Tokens and firmware would cross the network in the clear on {escape_text(host)}.",
        "Give a certificate (--tls-certificate, --tls-key), or say that a proxy in front ends TLS (--behind-proxy).",
    )


def bind(host: str, port: int) -> socket.socket:
    """For so many at once as there are :func:`connection_limit`. Raises :class:`UsageError` where it is taken or not
    ours.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = ConnectionLimitedSocket(family, kind, protocol, connection_limit())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(1024)
    except OSError as error:
        raise UsageError(
            f"{escape_text(host)}:{port} cannot be listened on: {escape_text(error.strerror or str(error))}.",
            "Choose another address (--listen).",
        ) from error
    return sock
