"""Tests of the server log: JSON lines, request fields, levels and redaction of secrets."""

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

RECORD = RequestRecord(
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

ReadLines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def log_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReadLines]:
    """Configure JSON logging; return a function that parses the lines written to standard error."""
    monkeypatch.setattr(program_log, "_SECRETS", set())
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    configure_logging("json")
    yield lambda: [json.loads(each) for each in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)


def test_line_has_standard_fields(log_lines: ReadLines) -> None:
    logging.getLogger("sealyard.test").warning("task %s is %s", "ab12", "DONE")
    (line,) = log_lines()
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "WARNING", "logger": "sealyard.test", "message": "task ab12 is DONE"}


def test_request_line_has_request_fields(log_lines: ReadLines) -> None:
    log_request(RECORD)
    (line,) = log_lines()
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


def test_line_during_request_has_request_id(log_lines: ReadLines) -> None:
    token = current_request.set("r7")
    logging.getLogger("sealyard.test").info("during")
    current_request.reset(token)
    logging.getLogger("sealyard.test").info("after")
    during, after = log_lines()
    assert during["id"] == "r7"
    assert "id" not in after


@pytest.mark.parametrize(("status", "level"), [(500, "ERROR"), (0, "ERROR"), (503, "WARNING"), (404, "INFO")])
def test_request_status_determines_log_level(log_lines: ReadLines, status: int, level: str) -> None:
    log_request(msgspec.structs.replace(RECORD, status=status))
    assert log_lines()[0]["level"] == level


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_successful_monitoring_requests_are_not_logged(log_lines: ReadLines, path: str) -> None:
    log_request(msgspec.structs.replace(RECORD, path=path))
    assert not log_lines()
    log_request(msgspec.structs.replace(RECORD, path=path, status=503))
    assert log_lines()[0]["path"] == path


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_redacted_everywhere_in_line(log_lines: ReadLines, secret: str) -> None:
    log = logging.getLogger("sealyard.test")
    log.info("with " + secret)
    log.info("with %s and %r", secret, secret)
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("failed")
    log_request(msgspec.structs.replace(RECORD, path=secret, subject=secret))
    entries = log_lines()
    assert len(entries) == 4
    assert "canary" not in json.dumps(entries)
    assert all(REDACTED in each["message"] for each in entries)


def test_registered_secret_is_redacted(log_lines: ReadLines) -> None:
    register_secret('quo"te\\ größe')
    logging.getLogger("sealyard.test").info('unlocking with quo"te\\ größe now')
    assert log_lines()[0]["message"] == f"unlocking with {REDACTED} now"


@given(st.text())
def test_any_text_gives_one_ascii_line(text: str) -> None:
    record = logging.makeLogRecord({"msg": "%s", "args": (text,), "name": text})
    line = JsonFormatter().format(record)
    assert line.isascii()
    assert line.isprintable()
    assert isinstance(json.loads(line), dict)


def test_surrogate_characters_are_escaped() -> None:
    # Calls the formatter directly: pytest's own log handler cannot encode surrogates.
    line = JsonFormatter().format(logging.makeLogRecord({"msg": "name %s", "args": ("\udcff.bin",)}))
    assert "name \\udcff.bin" in line


def test_text_format_redacts_secrets(monkeypatch: pytest.MonkeyPatch, log_lines: ReadLines) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging("text")
    logging.getLogger("sealyard.test").info("passphrase=canary")
    assert stream.getvalue().endswith(f"INFO sealyard.test: passphrase={REDACTED}\n")
