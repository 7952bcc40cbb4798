"""The addresses of webhooks, read strictly and in one place, so that what is checked is what is called."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError

MAX_URL_LENGTH = 2048
PORTS = {"https": 443, "http": 80}
LAST_PORT = 65535

# RFC 3986, but for what no webhook needs and what readers of URLs disagree about: user info, percent signs and
# characters beyond ASCII in the host, fragments.
_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
    r"(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?",
    re.ASCII,
)


class WebhookUrl(FrozenStruct, frozen=True, kw_only=True):
    """``host``: a name or an IP address, the latter without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> str:
        """As it may be shown and logged: the rest of a webhook's URL is a secret as often as not."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def parse_webhook_url(text: str) -> WebhookUrl:
    """Raises :class:`UsageError`, which does not repeat the URL."""
    found = _URL.fullmatch(text) if len(text) <= MAX_URL_LENGTH else None
    if found is None or not _is_valid_host(found["host"]) or int(found["port"] or 0) > LAST_PORT:
        raise UsageError(
            "This is no address for a webhook.",
            "Write it like https://hooks.example.org/sealyard: http or https, no user name, no fragment, a name beyond "
            f"ASCII in its xn-- form, an IP address in its usual form, at most {MAX_URL_LENGTH} characters.",
        )
    port = int(found["port"] or PORTS[found["scheme"]])
    return WebhookUrl(scheme=found["scheme"], host=found["host"].strip("[]"), port=port)


def _is_valid_host(host: str) -> bool:
    """``2130706433``, ``0x7f.1`` and ``127.0.0.01`` are addresses to some and names to others: refused."""
    last = host.rpartition(".")[2].lower()
    try:
        if host.startswith("["):
            IPv6Address(host[1:-1])
        elif last.isdigit() or last.startswith("0x"):
            IPv4Address(host)
    except AddressValueError:
        return False
    return True
