"""Test of an audit log whose writer is killed at random moments."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from sealyard.audit.log import AuditLog
from sealyard.audit.reader import AuditReader
from sealyard.audit.verify import verify_log
from tests.support.factories.audit import add
from tests.support.processes import killed_at_exit

ROOT = Path(__file__).parents[2]
KILLS = 8


@pytest.mark.crash
def test_killed_writer_keeps_acknowledged_entries(tmp_path: Path) -> None:
    stored = 0
    for _ in range(KILLS):
        command = [sys.executable, "-W", "ignore", "-m", "tests.support.audit_writer_process", str(tmp_path)]
        with killed_at_exit(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)) as writer:
            assert writer.stdout
            for _ in range(random.randint(1, 20)):
                stored = int(writer.stdout.readline())
            writer.kill()
            rest = writer.stdout.read().split()
        stored = int(rest[-1]) if rest else stored
        log = AuditLog.open(tmp_path)
        assert log.size >= stored
        assert [entry.seq for entry in log.all_entries()] == list(range(log.size))
        add(log, 1)
        report = verify_log(AuditReader(tmp_path))
        assert (report.size, report.checkpointed_size >= stored) == (log.size, True)
        stored = log.size
