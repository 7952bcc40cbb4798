"""The rate is what the workers got through lately, however the reports come."""

from __future__ import annotations

from datetime import timedelta

from sealyard.model.events import TaskProgressed
from sealyard_tui.screens.dashboard.throughput import BUCKET_SECONDS, BUCKETS, Throughput
from tests.tui.workspace import NOW

MIB = 1024 * 1024


def _at(task_id: str, done: int) -> TaskProgressed:
    return TaskProgressed(cursor=1, task_id=task_id, bytes_done=done, bytes_total=100 * MIB)


def test_the_first_report_of_a_task_counts_from_there() -> None:
    throughput = Throughput(NOW)
    throughput.add([_at("a", 50 * MIB)], NOW)
    assert throughput.rate == 0
    throughput.add([_at("a", 53 * MIB), _at("b", 9 * MIB)], NOW)
    throughput.add([_at("b", 12 * MIB)], NOW)
    assert throughput.rate == 6 / BUCKET_SECONDS


def test_what_begins_anew_is_not_counted_backwards() -> None:
    throughput = Throughput(NOW)
    throughput.add([_at("a", 50 * MIB)], NOW)
    throughput.add([_at("a", 0)], NOW)
    throughput.add([_at("a", 3 * MIB)], NOW)
    assert throughput.rate == 3 / BUCKET_SECONDS


def test_after_a_while_of_nothing_the_chart_is_empty() -> None:
    throughput = Throughput(NOW)
    throughput.add([_at("a", 0)], NOW)
    throughput.add([_at("a", 9 * MIB)], NOW)
    throughput.tick(NOW + timedelta(seconds=BUCKET_SECONDS * 2))
    assert (throughput.rate, max(throughput.rates)) == (0, 9 / BUCKET_SECONDS)
    throughput.tick(NOW + timedelta(days=1))
    assert throughput.rates == [0.0] * BUCKETS
