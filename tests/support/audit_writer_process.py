"""A process that appends to an audit log until it is killed. It prints the number of stored entries."""

from __future__ import annotations

import sys
from pathlib import Path

from sealyard.audit.log import AuditLog
from tests.support.factories.audit import add, add_checkpoint, public_pem

log = AuditLog.open(Path(sys.argv[1]))
log.pin_key(public_pem())
while True:
    add(log, 3, "x" * 5000)
    add_checkpoint(log)
    print(log.size, flush=True)  # noqa: T201
