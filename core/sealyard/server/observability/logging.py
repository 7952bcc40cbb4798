"""The server's log: one JSON object a line, or text for a terminal; secrets are left out of either."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from sealyard.client.log import RedactingFormatter, redact
from sealyard.server.http.request_log import RequestRecord, current_request
from sealyard.server.settings import LogForm

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

PROBE_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked all the time by machines: while all is well they are not worth a line."""

ERRORS_FROM = 500
UNAVAILABLE = 503

log = logging.getLogger(__name__)


def configure_logging(form: LogForm) -> None:
    """All that is logged goes there, from INFO on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else RedactingFormatter(TEXT))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def log_request(exchange: RequestRecord) -> None:
    """One line for each request that was answered."""
    level = _level(exchange.status)
    if exchange.path in PROBE_PATHS and level == logging.INFO:
        level = logging.DEBUG
    log.log(level, "%s %s %d", exchange.method, exchange.path, exchange.status, extra={"exchange": exchange})


def _level(status: int) -> int:
    """A line that broke, or what is only so for the moment, is no fault of ours."""
    if status == UNAVAILABLE:
        return logging.WARNING
    return logging.ERROR if status >= ERRORS_FROM or not status else logging.INFO


class JsonFormatter(logging.Formatter):
    """Plain ASCII, whatever was logged: nothing in a line can end it or lead a terminal astray."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            # Finished first: message, arguments and traceback are all seen to.
            "message": redact(super().format(record)),
        }
        exchange = getattr(record, "exchange", None)
        if isinstance(exchange, RequestRecord):
            return json.dumps({**line, **_fields(exchange)})
        request = current_request.get()
        return json.dumps({**line, "id": request} if request else line)


def _fields(exchange: RequestRecord) -> dict[str, str | int | float]:
    return {
        "id": exchange.id,
        "method": exchange.method,
        "path": redact(exchange.path),
        "status": exchange.status,
        "ms": round(exchange.seconds * 1000, 1),
        "received": exchange.received,
        "sent": exchange.sent,
        "tenant": exchange.tenant,
        "subject": redact(exchange.subject),
    }
