"""Parser for the addresses of notification targets: e-mail addresses, and Apprise URLs of supported services."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError
from sealyard.model.notifications import TargetKind

MAX_ADDRESS_LENGTH = 2048

_EMAIL_PATTERN = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?=.{1,253}\Z)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?",
    re.ASCII,
)
MAX_EMAIL_LENGTH = 254

SERVICES: Mapping[str, str] = {
    "discord": "Discord",
    "form": "form",
    "forms": "form",
    "gchat": "Google Chat",
    "gotify": "Gotify",
    "gotifys": "Gotify",
    "json": "JSON",
    "jsons": "JSON",
    "mmost": "Mattermost",
    "mmosts": "Mattermost",
    "nctalk": "Nextcloud Talk",
    "nctalks": "Nextcloud Talk",
    "ntfy": "ntfy",
    "ntfys": "ntfy",
    "opsgenie": "Opsgenie",
    "pagerduty": "PagerDuty",
    "pover": "Pushover",
    "rocket": "Rocket.Chat",
    "rockets": "Rocket.Chat",
    "slack": "Slack",
    "tgram": "Telegram",
    "webex": "Webex",
    "workflow": "Microsoft Teams",
    "workflows": "Microsoft Teams",
    "wxteams": "Webex",
    "xml": "XML",
    "xmls": "XML",
    "zulip": "Zulip",
}
"""Supported Apprise schemes and their names.

All of them send HTTP requests. Apprise also has schemes that run programs, write files or use the desktop.
"""

PLAIN_SCHEMES = frozenset({"form", "gotify", "json", "mmost", "nctalk", "ntfy", "rocket", "xml"})
"""Schemes that send plain HTTP requests, which are allowed only together with private addresses."""

SELF_HOSTED_SCHEMES = PLAIN_SCHEMES | {f"{scheme}s" for scheme in PLAIN_SCHEMES}
"""Schemes whose URLs contain the host of the service."""

FORBIDDEN_PARAMETERS = frozenset(
    {"actions", "attach", "attach_as", "blocks", "email", "filename", "redirect", "template", "verify"}
)
"""Parameters that read files, request other addresses, or turn off the verification of certificates."""


class NotificationAddress(FrozenStruct, frozen=True, kw_only=True):
    """A parsed address. ``display_text`` contains no secret; ``is_plain``: the service is called over plain HTTP."""

    kind: TargetKind
    display_text: str
    is_plain: bool = False


def parse_notification_address(text: str) -> NotificationAddress:
    """Parse the address of a target.

    Raises :class:`UsageError` if it is invalid or its service is not supported; the message does not contain it.
    """
    email = text.removeprefix("mailto:")
    if "://" not in text:
        return NotificationAddress(kind=TargetKind.EMAIL, display_text=parse_email(email))
    if len(text) > MAX_ADDRESS_LENGTH or not text.isascii() or not text.isprintable() or " " in text:
        raise _invalid_address_error()
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        parameters = {name.strip().lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    except ValueError:
        raise _invalid_address_error() from None
    scheme = parts.scheme.lower()
    service = SERVICES.get(scheme)
    if service is None:
        names = ", ".join(sorted(set(SERVICES.values()), key=str.lower))
        raise UsageError(
            "This service is not supported.", f"Use an e-mail address, or the Apprise URL of one of: {names}."
        )
    if forbidden := parameters & FORBIDDEN_PARAMETERS:
        raise UsageError(
            f"Parameter not allowed in the address: {', '.join(sorted(forbidden))}.", "Remove it from the address."
        )
    # Without a path, the host of an ntfy URL is a topic of ntfy.sh, which works like a password.
    shows_host = scheme in SELF_HOSTED_SCHEMES and host and parts.path.strip("/")
    display_text = f"{service} at {host}" if shows_host else service
    return NotificationAddress(kind=TargetKind.CHAT, display_text=display_text, is_plain=scheme in PLAIN_SCHEMES)


def parse_email(text: str) -> str:
    """Return an e-mail address. Raises :class:`UsageError` if ``text`` is not a plain ASCII address."""
    if len(text) > MAX_EMAIL_LENGTH or not _EMAIL_PATTERN.fullmatch(text):
        raise _invalid_address_error()
    return text


def _invalid_address_error() -> UsageError:
    return UsageError(
        "Invalid address.",
        "Use an e-mail address like anna@example.org, or an Apprise URL like slack://TokenA/TokenB/TokenC/#channel.",
    )
