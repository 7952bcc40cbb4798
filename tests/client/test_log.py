"""Test the log: redaction of secrets, size limit and file permissions."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.client import log as program_log
from sealyard.client.log import REDACTED, current_log_file, log_to_file, redact, register_secret
from sealyard.model.errors import StorageError

KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEcanary\n-----END EC PRIVATE KEY-----"

SECRETS = [
    "passphrase=canary",
    "SEALYARD_PASSPHRASE=canary rest",
    "{'password': 'can\\'ary canary'}",
    '{"passphrase":"canary \\" canary","create":true}',
    "Password : canary",
    "clientToken=canary",
    "sy_0123456789_canary0123456789abcdef",
    "X-Token:sy_0123456789_canary0123456789abcdef and more",
    "Authorization: Bearer canary.canary",
    "whsec_canary00canary+/00=",
    "got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.canary_canary-canary from",
    "sealyard:12ab/cd34?expires=1&signature=canary00",
    "https://store/x?X-Amz-Signature=canary&X-Amz-Date=1",
    KEY,
    KEY.replace("\n", "\\n"),
    "-----BEGIN PRIVATE KEY-----\ncanary",
]


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    path = tmp_path / "logs" / "program.log"
    log_to_file(path)
    yield path
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)


@pytest.fixture(autouse=True)
def _isolate_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_log, "_SECRETS", set())


def test_current_log_file_returns_path(path: Path) -> None:
    assert current_log_file() == path


@pytest.mark.parametrize("text", SECRETS)
def test_secret_pattern_is_redacted(text: str) -> None:
    redacted = redact(text)
    assert "canary" not in redacted
    assert REDACTED in redacted
    assert redact(redacted) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "The key store requires its passphrase.",
        "task 12ab is DONE: signature checked, 3 tokens of 5",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "sealyard:12ab/cd34?expires=1767322",
    ],
)
def test_ordinary_text_is_not_redacted(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("secret", ["correct horse", "quo\"te's \\ back", "größe\n1", "line\u2028end"])
def test_registered_secret_is_redacted_when_quoted(secret: str) -> None:
    register_secret(secret)
    for quoted in (secret, repr(secret), ascii(secret), json.dumps(secret), json.dumps(secret, ensure_ascii=False)):
        assert redact(f"unlocking with {quoted}, then on") in (
            f"unlocking with {REDACTED}, then on",
            f"unlocking with '{REDACTED}', then on",
            f'unlocking with "{REDACTED}", then on',
        )


def test_short_secret_is_not_redacted() -> None:
    register_secret("e")
    assert redact("seen") == "seen"


def test_arguments_and_traceback_are_redacted(path: Path) -> None:
    register_secret("correct horse")
    log = logging.getLogger("sealyard.test")
    log.info("with correct horse")
    log.info("as %s and %r", "correct horse", {"password": "canary"})
    try:
        raise ValueError(f"correct horse does not open {KEY}")
    except ValueError:
        log.exception("failed")
    text = path.read_text()
    assert f"with {REDACTED}\n" in text
    assert f"as {REDACTED} and {{'password': {REDACTED}}}\n" in text
    assert f"ValueError: {REDACTED} does not open {REDACTED}\n" in text
    assert "horse" not in text
    assert "canary" not in text


def test_log_files_are_private_and_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_log, "MAX_BYTES", 1000)
    log_to_file(path)
    for number in range(100):
        logging.getLogger("sealyard.test").info("line %d of many", number)
    files = list(path.parent.iterdir())
    assert len(files) == 1 + program_log.BACKUP_COUNT
    assert {each.stat().st_mode & 0o777 for each in files} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert max(each.stat().st_size for each in files) <= 1000
    assert "line 99" in path.read_text()


def _write_record(path: Path, message: str, *args: object) -> None:
    """Pass the record to the handler of the file only, not to those of the test runner."""
    (handler,) = (each for each in logging.getLogger().handlers if getattr(each, "baseFilename", "") == str(path))
    handler.handle(logging.makeLogRecord({"msg": message, "args": args}))


def test_unformattable_record_prints_nothing(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _write_record(path, "%d", "no number")
    assert "no number" not in capfd.readouterr().err


def test_invalid_unicode_is_logged_escaped(path: Path) -> None:
    _write_record(path, "name %s", "\udcff.bin")
    assert "\\udcff.bin" in path.read_text()


def test_uncreatable_log_raises_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        log_to_file(tmp_path / "file" / "program.log")
