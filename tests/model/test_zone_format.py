"""Test how the state of a crypto zone is formatted."""

from __future__ import annotations

from typing import Any

import pytest

from sealyard.model.zone_format import HostState, format_last_contact, format_zone, host_state, list_zone_warnings
from sealyard.model.zone_status import ZoneStatus
from tests.support.zone_examples import ZONE, build_host


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, HostState.READY),
        ({"running_jobs": 2}, HostState.BUSY),
        ({"draining": True}, HostState.DRAINING),
        ({"silent_seconds": 8.0}, HostState.READY),
        ({"silent_seconds": 8.1, "draining": True}, HostState.NO_CONTACT),
    ],
)
def test_host_state_follows_from_its_figures(fields: dict[str, Any], state: HostState) -> None:
    assert host_state(build_host(**fields)) is state


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "now"), (2.0, "now"), (12.4, "12s ago"), (75.0, "1m 15s ago")])
def test_last_contact_is_rounded_to_seconds(seconds: float, text: str) -> None:
    assert format_last_contact(build_host(silent_seconds=seconds)) == text


def test_zone_summary_has_counts_or_reachability() -> None:
    assert format_zone(ZONE) == "plant: 3 hosts, 3 waiting tasks"
    assert format_zone(ZoneStatus(name="a\x1b[2J", reachable=False)) == "a\\x1b[2J: not reachable"


def test_refused_measures_are_warnings() -> None:
    assert list(list_zone_warnings(ZONE)) == [
        "The crypto workers on crypto-1 run without the protection seccomp: not permitted."
    ]


def test_zone_that_takes_no_jobs_has_a_warning() -> None:
    (warning,) = list_zone_warnings(ZoneStatus(name="plant", reachable=False, report_lag=60.0))
    assert "cannot be reached" in warning
    hosts = (build_host(draining=True), build_host(silent_seconds=60.0))
    warnings = list(list_zone_warnings(ZoneStatus(name="plant", reachable=True, hosts=hosts, report_lag=60.0)))
    assert ["No host" in warnings[0], "has waited for 60 seconds" in warnings[1], len(warnings)] == [True, True, 2]
