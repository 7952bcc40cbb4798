"""Each line of the log is one JSON object, and no secret is in it, wherever it came from."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.client import log as program_log
from sealyard.client.log import REDACTED, register_secret
from sealyard.server.http.request_log import RequestRecord, current_request
from sealyard.server.observability.logging import JsonFormatter, configure_logging, log_request

EXCHANGE = RequestRecord(
    id="r1",
    method="GET",
    template="/api/v1/task/{task_id}",
    path="/api/v1/task/ab12",
    status=200,
    time_to_first_byte=0.01,
    seconds=0.0123,
    received=1,
    sent=2,
    tenant="acme",
    subject="USER:anna",
)

SECRETS = [
    "Authorization: Bearer canary.canary",
    "sy_0123456789_canary0123456789abcdef",
    "got eyJhbGciOiJSUzI1NiJ9.eyJjYW5hcnkiOiIifQ.canary",
    "passphrase=canary",
    '{"password": "canary"}',
    "/api/v1/link/w/t?expires=1&signature=canary",
    "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----",
]

Written = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """What is logged, as it is read from standard error."""
    monkeypatch.setattr(program_log, "_SECRETS", set())
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    configure_logging("json")
    yield lambda: [json.loads(each) for each in stream.getvalue().splitlines()]
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_says_when_how_bad_who_and_what(lines: Written) -> None:
    logging.getLogger("sealyard.test").warning("task %s is %s", "ab12", "DONE")
    (line,) = lines()
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "WARNING", "logger": "sealyard.test", "message": "task ab12 is DONE"}


def test_a_request_has_its_fields(lines: Written) -> None:
    log_request(EXCHANGE)
    (line,) = lines()
    assert {name: line[name] for name in line if name not in ("time", "logger")} == {
        "level": "INFO",
        "message": "GET /api/v1/task/ab12 200",
        "id": "r1",
        "method": "GET",
        "path": "/api/v1/task/ab12",
        "status": 200,
        "ms": 12.3,
        "received": 1,
        "sent": 2,
        "tenant": "acme",
        "subject": "USER:anna",
    }


def test_what_is_logged_during_a_request_names_it(lines: Written) -> None:
    named = current_request.set("r7")
    logging.getLogger("sealyard.test").info("during")
    current_request.reset(named)
    logging.getLogger("sealyard.test").info("after")
    during, after = lines()
    assert during["id"] == "r7"
    assert "id" not in after


@pytest.mark.parametrize(("status", "level"), [(500, "ERROR"), (0, "ERROR"), (503, "WARNING"), (404, "INFO")])
def test_what_the_server_failed_at_is_an_error_and_what_is_so_for_the_moment_a_warning(
    lines: Written, status: int, level: str
) -> None:
    log_request(msgspec.structs.replace(EXCHANGE, status=status))
    assert lines()[0]["level"] == level


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_being_watched_is_worth_a_line_only_where_something_is_wrong(lines: Written, path: str) -> None:
    log_request(msgspec.structs.replace(EXCHANGE, path=path))
    assert not lines()
    log_request(msgspec.structs.replace(EXCHANGE, path=path, status=503))
    assert lines()[0]["path"] == path


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_is_in_message_argument_trace_or_field(lines: Written, secret: str) -> None:
    log = logging.getLogger("sealyard.test")
    log.info("with " + secret)
    log.info("with %s and %r", secret, secret)
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("failed")
    log_request(msgspec.structs.replace(EXCHANGE, path=secret, subject=secret))
    told = lines()
    assert len(told) == 4
    assert "canary" not in json.dumps(told)
    assert all(REDACTED in each["message"] for each in told)


def test_a_known_passphrase_is_kept_out(lines: Written) -> None:
    register_secret('quo"te\\ größe')
    logging.getLogger("sealyard.test").info('unlocking with quo"te\\ größe now')
    assert lines()[0]["message"] == f"unlocking with {REDACTED} now"


@given(st.text())
def test_whatever_is_logged_stays_one_line_of_ascii(text: str) -> None:
    record = logging.makeLogRecord({"msg": "%s", "args": (text,), "name": text})
    line = JsonFormatter().format(record)
    assert line.isascii()
    assert line.isprintable()
    assert isinstance(json.loads(line), dict)


def test_text_that_is_no_unicode_is_logged() -> None:
    # Past the handlers of the test runner, which cannot take it.
    line = JsonFormatter().format(logging.makeLogRecord({"msg": "name %s", "args": ("\udcff.bin",)}))
    assert "name \\udcff.bin" in line


def test_for_a_terminal_it_is_text_without_secrets(monkeypatch: pytest.MonkeyPatch, lines: Written) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging("text")
    logging.getLogger("sealyard.test").info("passphrase=canary")
    assert stream.getvalue().endswith(f"INFO sealyard.test: passphrase={REDACTED}\n")
