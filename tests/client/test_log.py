"""The log holds no secret, stays small, and is for its own user only."""

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
def _own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_log, "_SECRETS", set())


def test_who_has_to_say_where_the_log_is_can_ask(path: Path) -> None:
    assert current_log_file() == path


@pytest.mark.parametrize("text", SECRETS)
def test_what_looks_like_a_secret_is_kept_out(text: str) -> None:
    shown = redact(text)
    assert "canary" not in shown
    assert REDACTED in shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "The key store requires its passphrase.",
        "task 12ab is DONE: signature checked, 3 tokens of 5",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "sealyard:12ab/cd34?expires=1767322",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("secret", ["correct horse", "quo\"te's \\ back", "größe\n1", "line\u2028end"])
def test_a_known_passphrase_is_kept_out_however_it_is_written(secret: str) -> None:
    register_secret(secret)
    for written in (secret, repr(secret), ascii(secret), json.dumps(secret), json.dumps(secret, ensure_ascii=False)):
        assert redact(f"unlocking with {written}, then on") in (
            f"unlocking with {REDACTED}, then on",
            f"unlocking with '{REDACTED}', then on",
            f'unlocking with "{REDACTED}", then on',
        )


def test_a_secret_too_short_to_hide_does_not_give_itself_away() -> None:
    register_secret("e")
    assert redact("seen") == "seen"


def test_message_arguments_and_traceback_are_all_seen_to(path: Path) -> None:
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


def test_the_log_is_for_its_own_user_and_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def _to_file_alone(path: Path, message: str, *args: object) -> None:
    """Past the handlers of the test runner."""
    (handler,) = (each for each in logging.getLogger().handlers if getattr(each, "baseFilename", "") == str(path))
    handler.handle(logging.makeLogRecord({"msg": message, "args": args}))


def test_a_record_that_cannot_be_written_does_not_write_on_the_terminal(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _to_file_alone(path, "%d", "no number")
    assert "no number" not in capfd.readouterr().err


def test_text_that_is_no_unicode_is_logged_as_escapes(path: Path) -> None:
    _to_file_alone(path, "name %s", "\udcff.bin")
    assert "\\udcff.bin" in path.read_text()


def test_a_log_that_cannot_be_made_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        log_to_file(tmp_path / "file" / "program.log")
