"""A strict parser for webhook URLs.

Validation and delivery both use it, so that the host that is checked is the host that is called.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError

MAX_URL_LENGTH = 2048
DEFAULT_PORTS = {"https": 443, "http": 80}
MAX_PORT = 65535

# A subset of RFC 3986. It excludes parts that webhooks do not need and that URL parsers interpret differently: user
# info, percent signs and non-ASCII characters in the host, and fragments.
_URL_PATTERN = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
    r"(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?",
    re.ASCII,
)


class WebhookUrl(FrozenStruct, frozen=True, kw_only=True):
    """The parts of a webhook URL. ``host``: a name, or an IP address without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> str:
        """Scheme, host and port, for display and logs. The rest of a webhook URL often contains a secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def parse_webhook_url(text: str) -> WebhookUrl:
    """Parse a webhook URL. Raises :class:`UsageError` if it is invalid; the message does not contain the URL."""
    match = _URL_PATTERN.fullmatch(text) if len(text) <= MAX_URL_LENGTH else None
    if match is None or not _is_valid_host(match["host"]) or int(match["port"] or 0) > MAX_PORT:
        raise UsageError(
            "Invalid webhook address.",
            "Use a URL like https://hooks.example.org/sealyard: http or https, no user name or fragment, names in "
            f"xn-- form, IP addresses in their usual form, at most {MAX_URL_LENGTH} characters.",
        )
    port = int(match["port"] or DEFAULT_PORTS[match["scheme"]])
    return WebhookUrl(scheme=match["scheme"], host=match["host"].strip("[]"), port=port)


def _is_valid_host(host: str) -> bool:
    """Return whether ``host`` is either a name or an IP address in its usual form.

    Rejects ``2130706433``, ``0x7f.1`` and ``127.0.0.01``: some parsers treat such hosts as IP addresses, others as
    names.
    """
    last_label = host.rpartition(".")[2].lower()
    try:
        if host.startswith("["):
            IPv6Address(host[1:-1])
        elif last_label.isdigit() or last_label.startswith("0x"):
            IPv4Address(host)
    except AddressValueError:
        return False
    return True
