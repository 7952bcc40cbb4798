"""Tests of parsing webhook URLs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.errors import UsageError
from sealyard.model.webhook_url import MAX_URL_LENGTH, WebhookUrl, parse_webhook_url


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port"),
    [
        ("https://hooks.example.org/sealyard?a=b&c=%20d", "https", "hooks.example.org", 443),
        ("https://hooks.example.org", "https", "hooks.example.org", 443),
        ("http://build_1:8080/", "http", "build_1", 8080),
        ("https://192.0.2.7:9443/x", "https", "192.0.2.7", 9443),
        ("https://[2001:db8::7]/x", "https", "2001:db8::7", 443),
        ("https://xn--bcher-kva.example/?x", "https", "xn--bcher-kva.example", 443),
    ],
)
def test_valid_url_is_parsed(text: str, scheme: str, host: str, port: int) -> None:
    assert parse_webhook_url(text) == WebhookUrl(scheme=scheme, host=host, port=port)


@pytest.mark.parametrize(
    "text",
    [
        *("", "hooks.example.org", "//hooks.example.org/", "ftp://example.org/", "file:///etc/passwd", "https://"),
        *("gopher://example.org", "javascript:alert(1)", "unix:///run/socket", "https:/example.org", "HTTPS//x"),
        # user info, and forms that some parsers read as user info
        *("https://user@example.org/", "https://user:word@example.org/", "https://example.org\\@127.0.0.1/"),
        *("https://127.0.0.1#@example.org/", "https://example.org/#top", "https://example.org\t.evil/"),
        # other notations of addresses: decimal, octal, hexadecimal, short, in brackets, percent-encoded, non-ASCII
        *("http://2130706433/", "http://017700000001/", "http://0x7f000001/", "http://0x7f.1/", "http://127.1/"),
        *(
            "http://0177.0.0.1/",
            "http://127.0.0.01/",
            "http://127.0.0.1.:80/",
            "http://1.2.3.4.5/",
            "http://256.1.1.1/",
        ),
        *("http://[127.0.0.1]/", "http://[::1%25eth0]/", "http://[::1", "http://[:::1]/", "http://::1/"),
        *("http://%31%32%37.0.0.1/", "http://１２７.0.0.1/", "http://127。0。0。1/", "http://bücher.example/"),
        # ports, spaces, lines
        *("https://example.org:0/", "https://example.org:65536/", "https://example.org:http/", "https://example.org:/"),
        *("https://example.org/ x", " https://example.org/", "https://example.org/\r\nHost: evil", "https://a.b/\n"),
        "https://example.org/" + "x" * MAX_URL_LENGTH,
    ],
)
def test_ambiguous_url_is_rejected(text: str) -> None:
    with pytest.raises(UsageError):
        parse_webhook_url(text)


@given(st.text() | st.text().map("https://{}".format) | st.from_regex(r"https?://[ -~]*", fullmatch=True))
def test_arbitrary_text_is_parsed_or_rejected(text: str) -> None:
    try:
        url = parse_webhook_url(text)
    except UsageError:
        return
    assert text.startswith(url.scheme)
    assert url.host in text
    assert 0 < url.port < 65536


def test_error_hides_the_url() -> None:
    with pytest.raises(UsageError) as caught:
        parse_webhook_url("https://user:word@example.org/path-that-is-a-secret")
    assert "word" not in str(caught.value)
    assert "path" not in str(caught.value)


def test_origin_omits_path_and_query() -> None:
    assert parse_webhook_url("https://hooks.example.org/T0/secret?key=secret").origin == "https://hooks.example.org"
    assert parse_webhook_url("http://[2001:db8::7]:8080/secret").origin == "http://[2001:db8::7]:8080"
