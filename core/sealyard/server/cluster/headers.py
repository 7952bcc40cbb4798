"""Header fields of requests that one server of a cluster forwards to another."""

from __future__ import annotations

from collections.abc import Iterable

from litestar.types import HTTPScope

CLIENT = b"x-se-cluster-client"
"""Address and port of the client, separated by a space."""

SCHEME = b"x-se-cluster-scheme"
"""``http`` or ``https``: how the client has connected."""

NOT_ACTIVE = b"x-se-cluster-not-active"
"""In a response: this server is not active, and has not processed the request."""

INTERNAL = frozenset({CLIENT, SCHEME, NOT_ACTIVE})

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that are meant for the next server only (RFC 9110, section 7.6.1)."""

RawHeaders = list[tuple[bytes, bytes]]


def remove_internal(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Return the header fields of a request from outside, without those that only servers of the cluster may send."""
    return [(name, value) for name, value in headers if name not in INTERNAL]


def is_end_to_end(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bool:
    """Return whether the field ``name`` of ``headers`` is forwarded."""
    connection_fields = b",".join(value for field, value in headers if field == b"connection")
    return name not in _HOP_BY_HOP and name not in {token.strip().lower() for token in connection_fields.split(b",")}


def add_caller(headers: RawHeaders, scope: HTTPScope) -> RawHeaders:
    """Return ``headers`` with the address of the client and the scheme of the request."""
    client = scope["client"]
    address = [(CLIENT, f"{client[0]} {client[1]}".encode())] if client is not None else []
    return [*headers, *address, (SCHEME, scope["scheme"].encode())]


def find_caller(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, int] | None, str]:
    """Return the address of the client and the scheme, which another server of the cluster has added."""
    fields = dict(headers)
    host, _, port = fields.get(CLIENT, b"").decode("latin-1").rpartition(" ")
    client = (host, int(port)) if host and port.isdigit() else None
    return client, "https" if fields.get(SCHEME) == b"https" else "http"
