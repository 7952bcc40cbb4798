"""Tests of the addresses of notification targets."""

from __future__ import annotations

from typing import Any

import pytest

from sealyard.model.errors import UsageError
from sealyard.model.notification_address import SERVICES, parse_notification_address
from sealyard.model.notifications import TargetKind


@pytest.mark.parametrize("text", ["anna@example.org", "mailto:anna@example.org", "a.b+c@mail.example.org"])
def test_email_address_is_shown(text: str) -> None:
    address = parse_notification_address(text)
    assert (address.kind, address.display_text) == (TargetKind.EMAIL, text.removeprefix("mailto:"))


@pytest.mark.parametrize(
    ("text", "display_text", "is_plain"),
    [
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "Slack", False),
        ("mmosts://chat.example.org/token", "Mattermost at chat.example.org", False),
        ("mmost://chat.example.org/token", "Mattermost at chat.example.org", True),
        ("jsons://user:password@hooks.example.org:8443/path", "JSON at hooks.example.org", False),
        ("ntfys://secret-topic", "ntfy", False),
        ("ntfys://ntfy.example.org/topic", "ntfy at ntfy.example.org", False),
        ("workflows://host.example.org/workflow/signature/?ver=2016", "Microsoft Teams", False),
    ],
)
def test_chat_address_is_shown_without_secrets(text: str, display_text: str, is_plain: bool) -> None:
    address = parse_notification_address(text)
    assert (address.kind, address.display_text, address.is_plain) == (TargetKind.CHAT, display_text, is_plain)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "anna",
        "anna@",
        "@mail.example.org",
        "anna@example.org, otto@example.org",
        "anna@example.org\nBcc: otto@example.org",
        "anna@exämple.org",
        "anna @example.org",
        ".anna@example.org",
        f"{'a' * 250}@example.org",
        "file:///etc/passwd",
        "syslog://",
        "dbus://",
        "gnome://",
        "mailtos://user:password@example.org",
        "apprise://host/token",
        "windows://",
        "https://hooks.example.org/x",
        "jsons://hooks.example.org/a b",
        "jsons://[bad/x",
        "jsons://hooks.example.org/?verify=no",
        "jsons://hooks.example.org/?%76erify=no",
        "jsons://hooks.example.org/?Redirect=yes",
        "slack://a/b/c?template=/etc/passwd",
        "ntfys://topic?attach=http://127.0.0.1/",
        f"jsons://hooks.example.org/{'x' * 3000}",
    ],
)
def test_invalid_address_is_rejected_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_notification_address(text)
    assert len(text) < 10 or text not in str(raised.value)


def test_apprise_knows_all_supported_services() -> None:
    from apprise import NotificationManager

    manager: Any = NotificationManager
    schemes = manager().schemas()
    assert set(SERVICES) <= set(schemes)
