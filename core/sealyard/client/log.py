"""The program's log: a file of bounded size, readable only by its user, with secrets redacted."""

from __future__ import annotations

import io
import json
import logging
import re
from logging.handlers import RotatingFileHandler
from pathlib import Path

from sealyard.fs.private import make_private_dir, open_private_append
from sealyard.model.errors import StorageError
from sealyard.model.safe_text import escape_text

REDACTED = "***"
MAX_BYTES = 2 * 1024 * 1024
"""Size at which the log file is rotated."""

BACKUP_COUNT = 2
"""Number of rotated files kept in addition to the current one."""

_MIN_SECRET_CHARS = 4  # redacting a shorter secret everywhere would reveal it through the gaps
_SECRETS: set[str] = set()

_SECRET_PATTERNS = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REDACTED),
    (
        re.compile(
            r"""((?:passphrase|password|passwd|secret|token)["']?\s{0,3}[=:]\s{0,3})"""
            r"""(?:b?"(?:[^"\\]|\\.)*"|b?'(?:[^'\\]|\\.)*'|[^\s,;&)\]}]+)""",
            re.IGNORECASE,
        ),
        rf"\g<1>{REDACTED}",
    ),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/]{8,}={0,2}"), REDACTED),
    (re.compile(r"\b(bearer\s{1,3})[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\g<1>{REDACTED}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), REDACTED),
    (re.compile(r"(sy_[0-9a-z]{4,16}_)[0-9A-Za-z_-]{8,}"), rf"\g<1>{REDACTED}"),
    (re.compile(r"""([?&;][\w-]{0,40}signature=)[^&\s"']+""", re.IGNORECASE), rf"\g<1>{REDACTED}"),
)


def register_secret(secret: str) -> None:
    """Redact ``secret`` in all later log messages, both verbatim and as it is escaped in string literals."""
    if len(secret) >= _MIN_SECRET_CHARS:
        _SECRETS.update((secret, repr(secret)[1:-1], ascii(secret)[1:-1], json.dumps(secret)[1:-1]))


def redact(text: str) -> str:
    """Return ``text`` without registered secrets, private keys, passphrase and token values, and link signatures."""
    for secret in sorted(_SECRETS, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    for pattern, replacement in _SECRET_PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def log_to_file(path: Path) -> None:
    """Write the log to the file at ``path`` (mode 0600, its folder 0700), instead of any previous log file.

    Raises :class:`StorageError` if the file cannot be written.
    """
    try:
        make_private_dir(path.parent)
        handler = _PrivateRotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=BACKUP_COUNT, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"Cannot write the log {escape_text(str(path))}: {error.strerror}.") from error
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    for old_handler in [entry for entry in root.handlers if isinstance(entry, logging.FileHandler)]:
        root.removeHandler(old_handler)
        old_handler.close()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def current_log_file() -> Path | None:
    """Return the path last passed to :func:`log_to_file`, or None."""
    handlers = [entry for entry in logging.getLogger().handlers if isinstance(entry, _PrivateRotatingFileHandler)]
    return Path(handlers[0].baseFilename) if handlers else None


class RedactingFormatter(logging.Formatter):
    """Log formatter that redacts secrets in the formatted text, which includes arguments and traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _PrivateRotatingFileHandler(RotatingFileHandler):
    """Rotating log file that only its owner can read."""

    def _open(self) -> io.TextIOWrapper:
        """Open the log file with mode 0600. Called again after every rotation."""
        descriptor = open_private_append(Path(self.baseFilename))
        return open(descriptor, "a", encoding=self.encoding, errors="backslashreplace")  # noqa: PTH123

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Ignore the error: the default implementation prints to stderr, which would corrupt the TUI."""
