"""Tests of the throughput computed from progress reports."""

from __future__ import annotations

from datetime import timedelta

from sealyard.model.events import TaskProgressed
from sealyard_tui.screens.dashboard.throughput import BUCKET_SECONDS, BUCKETS, Throughput
from tests.tui.workspace import NOW

MIB = 1024 * 1024


def _make_progress(task_id: str, done: int) -> TaskProgressed:
    return TaskProgressed(cursor=1, task_id=task_id, bytes_done=done, bytes_total=100 * MIB)


def test_first_report_sets_baseline() -> None:
    throughput = Throughput(NOW)
    throughput.add([_make_progress("a", 50 * MIB)], NOW)
    assert throughput.rate == 0
    throughput.add([_make_progress("a", 53 * MIB), _make_progress("b", 9 * MIB)], NOW)
    throughput.add([_make_progress("b", 12 * MIB)], NOW)
    assert throughput.rate == 6 / BUCKET_SECONDS


def test_restarted_progress_is_not_counted_negative() -> None:
    throughput = Throughput(NOW)
    throughput.add([_make_progress("a", 50 * MIB)], NOW)
    throughput.add([_make_progress("a", 0)], NOW)
    throughput.add([_make_progress("a", 3 * MIB)], NOW)
    assert throughput.rate == 3 / BUCKET_SECONDS


def test_rates_become_zero_after_idle_time() -> None:
    throughput = Throughput(NOW)
    throughput.add([_make_progress("a", 0)], NOW)
    throughput.add([_make_progress("a", 9 * MIB)], NOW)
    throughput.tick(NOW + timedelta(seconds=BUCKET_SECONDS * 2))
    assert (throughput.rate, max(throughput.rates)) == (0, 9 / BUCKET_SECONDS)
    throughput.tick(NOW + timedelta(days=1))
    assert throughput.rates == [0.0] * BUCKETS
