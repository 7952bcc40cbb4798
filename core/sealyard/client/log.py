"""The program's log: a bounded file for its own user only, with what looks like a secret left out."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from logging.handlers import RotatingFileHandler
from pathlib import Path

from sealyard.model.errors import StorageError
from sealyard.model.safe_text import escape_text

HIDDEN = "***"
LARGEST_BYTES = 2 * 1024 * 1024
KEPT_FILES = 2
"""Older ones beside the file that is written to."""

_SHORTEST_SECRET = 4  # a shorter one would be given away by the holes it leaves
_SECRETS: set[str] = set()

_PATTERNS = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    (
        re.compile(
            r"""((?:passphrase|password|passwd|secret|token)["']?\s{0,3}[=:]\s{0,3})"""
            r"""(?:b?"(?:[^"\\]|\\.)*"|b?'(?:[^'\\]|\\.)*'|[^\s,;&)\]}]+)""",
            re.IGNORECASE,
        ),
        rf"\g<1>{HIDDEN}",
    ),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/]{8,}={0,2}"), HIDDEN),
    (re.compile(r"\b(bearer\s{1,3})[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\g<1>{HIDDEN}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), HIDDEN),
    (re.compile(r"(sy_[0-9a-z]{4,16}_)[0-9A-Za-z_-]{8,}"), rf"\g<1>{HIDDEN}"),
    (re.compile(r"""([?&;][\w-]{0,40}signature=)[^&\s"']+""", re.IGNORECASE), rf"\g<1>{HIDDEN}"),
)


def register_secret(secret: str) -> None:
    """From now on ``secret`` is kept out of the log, as it is and as it is written inside quotes."""
    if len(secret) >= _SHORTEST_SECRET:
        _SECRETS.update((secret, repr(secret)[1:-1], ascii(secret)[1:-1], json.dumps(secret)[1:-1]))


def redact(text: str) -> str:
    """``text`` without what was hidden, private keys, values of passphrases and tokens, and signatures of links."""
    for secret in sorted(_SECRETS, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def log_to_file(path: Path) -> None:
    """All that is logged goes there (folder 0700, file 0600) and nowhere else. Raises :class:`StorageError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handler = _PrivateRotatingFileHandler(path, maxBytes=LARGEST_BYTES, backupCount=KEPT_FILES, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The log {escape_text(str(path))} cannot be written: {error.strerror}.") from error
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, logging.FileHandler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def current_log_file() -> Path | None:
    """Where :func:`log_to_file` put it last."""
    files = [each for each in logging.getLogger().handlers if isinstance(each, _PrivateRotatingFileHandler)]
    return Path(files[0].baseFilename) if files else None


class RedactingFormatter(logging.Formatter):
    """Works on the finished text, so message, arguments and traceback are all seen to."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _PrivateRotatingFileHandler(RotatingFileHandler):
    def _open(self) -> io.TextIOWrapper:
        """Mode 0600 for each file that a rotation begins."""
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return open(descriptor, "a", encoding=self.encoding, errors="backslashreplace")  # noqa: PTH123

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A log that cannot be written must not write over the screen instead."""
