"""`--json`: one value on standard output, nothing else there, for every command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli_runner import CliResult, CliWorkspace, sealyard

TASK_FIELDS = {
    *("id", "kind", "status", "name", "configId", "configVersion", "createdBy", "createdAt", "approvals"),
    *("subtasks", "result"),
}

COMMANDS = [
    ("admin", "subject", "list"),
    ("admin", "subject", "add", "GROUP:owners"),
    ("admin", "acl", "list"),
    ("admin", "acl", "add", "USER:auditor", "DEVICE_CONFIG:gateway", "VIEW"),
    ("admin", "policy", "show"),
    ("admin", "policy", "set", "--time-limit", "2h", "--approval", "packaging", "--allow-self-approval", "off"),
    ("admin", "device", "list"),
    ("admin", "device", "show", "gateway"),
    ("admin", "device", "certificates", "gateway"),
    ("admin", "device", "update", "gateway", "--description", "for the lab"),
    ("admin", "key", "list"),
    ("admin", "key", "rotate", "local:gateway-encryption"),
    ("auditor", "audit", "list"),
    ("auditor", "audit", "verify"),
    ("developer", "tasks"),
    ("developer", "profile", "list"),
    ("developer", "download", "--all"),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_command_prints_one_value_and_nothing_else(house: CliWorkspace, arguments: tuple[str, ...]) -> None:
    profile, *words = arguments
    ran = house.run(profile, *words, "--json")
    assert ran.code == 0, ran
    assert json.loads(ran.out) is not None
    assert ran.out.isascii()


def test_a_task_has_the_fields_that_programs_rely_on(house: CliWorkspace) -> None:
    done, waiting = house.value("developer", "show", house.done), house.value("developer", "show", house.waiting)
    listed = house.value("developer", "tasks")
    for value in (done, waiting, *listed):
        assert set(value) >= TASK_FIELDS
    assert set(done["result"]) >= {"state", "link", "expiresAt", "sha256", "size", "signature"}
    assert waiting["result"] is None
    assert done["kind"] == "packaging"


@pytest.mark.parametrize("place", ["before", "between", "after"])
def test_global_options_are_taken_before_and_after_the_command(house: CliWorkspace, place: str) -> None:
    options = ("--workspace", house.folder, "--profile", "developer", "--json")
    words: tuple[object, ...] = {
        "before": (*options, "device", "list"),
        "between": ("device", *options, "list"),
        "after": ("device", "list", *options),
    }[place]
    ran = sealyard(*words)
    assert ran.code == 0
    assert [each["name"] for each in ran.value] == ["gateway"]


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("usage", ("tasks", "--status", "LOST")),
        ("usage", ("fly",)),
        ("not-found", ("show", "nowhere")),
        ("not-allowed", ("audit", "verify")),
        ("input", ("encrypt", "--device", "gateway", "/nowhere/at/all")),
    ],
)
def test_an_error_is_the_one_value(house: CliWorkspace, code: str, arguments: tuple[str, ...]) -> None:
    ran: CliResult = house.run("developer", *arguments, "--json")
    assert ran.code != 0
    assert set(ran.value["error"]) == {"code", "message", "hint", "hintCode", "hintArgs"}
    assert ran.value["error"]["code"] == code


def test_of_several_downloads_each_has_its_own_outcome(house: CliWorkspace, tmp_path: Path) -> None:
    ran = house.run("developer", "download", house.done, "nowhere", "--out", tmp_path / "down", "--json")
    assert ran.code == 4
    assert [each["downloaded"] is not None for each in ran.value] == [True, False]
    assert ran.value[1]["error"]["code"] == "not-found"


def test_a_page_of_the_log_says_where_the_next_one_begins(house: CliWorkspace) -> None:
    first = house.value("auditor", "audit", "list", "--limit", "3")
    second = house.value("auditor", "audit", "list", "--limit", "3", "--before-seq", first["next"])
    seqs = [each["seq"] for page in (first, second) for each in page["entries"]]
    assert seqs == sorted(seqs, reverse=True)
    assert len(set(seqs)) == 6
