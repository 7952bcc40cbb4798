"""The options of the application reach it, and nothing else takes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from shell import House, sealyard

NAMES = ("SEALYARD_READ_ONLY", "SEALYARD_MOUSE", "SEALYARD_SCREEN", "SEALYARD_FILTER")
OPTIONS = ("--read-only", "--no-mouse", "--screen", "audit", "--filter", "gateway 1")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The environment of each start of the application."""
    started: list[dict[str, str]] = []

    class Found:
        def load(self) -> object:
            return lambda: started.append(dict(os.environ)) or 0

    monkeypatch.setattr("sealyard.cli.front.entry_points", lambda group: [Found()])
    for name in (*NAMES, "SEALYARD_WORKSPACE", "SEALYARD_PROFILE", "SEALYARD_PASSPHRASE"):
        monkeypatch.setenv(name, "before")
    return started


@pytest.mark.parametrize("arguments", [OPTIONS, ("demo", *OPTIONS), (*OPTIONS, "demo")])
def test_options_of_the_application_reach_it(seen: list[dict[str, str]], arguments: tuple[str, ...]) -> None:
    assert sealyard(*arguments).code == 0
    assert [seen[0][each] for each in NAMES] == ["1", "0", "audit", "gateway 1"]


def test_what_is_not_said_is_left_to_the_settings(seen: list[dict[str, str]]) -> None:
    assert sealyard().code == 0
    assert [seen[0][each] for each in NAMES] == ["before"] * 4


def test_no_command_is_run_as_if_it_were_read_only(house: House, tmp_path: Path) -> None:
    refused = sealyard("--read-only", *house.asks("owner", "approve", house.waiting))
    assert refused.code == 2
    assert "--read-only" in refused.err
    assert house.value("owner", "show", house.waiting)["status"] == "WAITING"
    assert sealyard("demo", "--headless", "--screen", "audit").code == 2


def test_a_screen_that_does_not_exist_is_refused(seen: list[dict[str, str]]) -> None:
    refused = sealyard("--screen", "kitchen")
    assert refused.code == 2
    assert "dashboard" in refused.err
    assert seen == []
