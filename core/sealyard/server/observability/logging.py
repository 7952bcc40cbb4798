"""The server's log: one JSON object per line, or text for a terminal. Secrets are redacted in both."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from sealyard.client.log import RedactingFormatter, redact
from sealyard.server.http.request_log import RequestRecord, current_request
from sealyard.server.settings import LogFormat

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

PROBE_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that monitoring systems request constantly. Successful requests to them are logged at level DEBUG."""

MIN_ERROR_STATUS = 500
UNAVAILABLE_STATUSES = frozenset({502, 503})

log = logging.getLogger(__name__)


def configure_logging(log_format: LogFormat) -> None:
    """Configure logging of messages at level INFO and above to standard error.

    Messages of uvicorn are logged from level WARNING: it reports the start and end of each listener as those of a
    process, although a server has several listeners. :class:`~sealyard.server.server.Server` logs its own. Those of
    Procrastinate as well: it logs several lines for each job of a crypto zone.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else RedactingFormatter(TEXT_FORMAT))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for name in ("uvicorn", "procrastinate"):
        logging.getLogger(name).setLevel(logging.WARNING)


def log_request(request: RequestRecord) -> None:
    """Log one line for a finished request."""
    level = _level_for_status(request.status)
    if request.path in PROBE_PATHS and level == logging.INFO:
        level = logging.DEBUG
    log.log(level, "%s %s %d", request.method, request.path, request.status, extra={"request": request})


def _level_for_status(status: int) -> int:
    """Return the log level for a response status. 502 and 503 are temporary conditions, not internal errors."""
    if status in UNAVAILABLE_STATUSES:
        return logging.WARNING
    return logging.ERROR if status >= MIN_ERROR_STATUS or not status else logging.INFO


class JsonFormatter(logging.Formatter):
    """A formatter that writes ASCII JSON, so that logged text can neither end a line nor control a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            # Format first, then redact the result, so that arguments and traceback are redacted too.
            "message": redact(super().format(record)),
        }
        request = getattr(record, "request", None)
        if isinstance(request, RequestRecord):
            return json.dumps({**entry, **_request_fields(request)})
        request_id = current_request.get()
        return json.dumps({**entry, "id": request_id} if request_id else entry)


def _request_fields(request: RequestRecord) -> dict[str, str | int | float]:
    return {
        "id": request.id,
        "method": request.method,
        "path": redact(request.path),
        "status": request.status,
        "ms": round(request.seconds * 1000, 1),
        "received": request.received,
        "sent": request.sent,
        "tenant": request.tenant,
        "subject": redact(request.subject),
    }
