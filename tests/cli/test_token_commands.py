"""`sealyard token`: a secret is printed once, to be kept or piped; the list never has it."""

from __future__ import annotations

import re

from tests.support.cli_runner import CliWorkspace

SECRET = re.compile(r"sy_[0-9a-z]{10}_[0-9a-f]{64}")


def test_the_secret_alone_is_on_standard_output(house: CliWorkspace) -> None:
    ran = house.run("developer", "token", "create", "laptop", "--expires", "1h")
    assert ran.code == 0
    assert SECRET.fullmatch(ran.out.strip())
    assert ran.out.strip() not in ran.err
    assert "shown only once" in ran.err


def test_as_json_it_comes_with_what_may_be_known_of_it(house: CliWorkspace) -> None:
    issued = house.value("developer", "token", "create", "laptop")
    assert SECRET.fullmatch(issued["secret"])
    assert issued["secret"].startswith(f"sy_{issued['token']['id']}_")
    listed = house.value("developer", "token", "list")
    assert listed == [issued["token"]]


def test_an_administrator_makes_one_for_a_machine_and_ends_it(house: CliWorkspace) -> None:
    assert house.run("admin", "subject", "add", "CLIENT:ci").code == 0
    token = house.value("admin", "token", "create", "pipeline", "--subject", "CLIENT:ci")["token"]
    assert (token["subject"], token["isMachine"]) == ("CLIENT:ci", True)
    assert token["id"] in house.run("admin", "token", "list").out
    assert token["id"] not in house.run("developer", "token", "list").out
    assert house.run("developer", "token", "revoke", token["id"]).code == 4
    assert house.run("admin", "token", "revoke", token["id"]).code == 0
    listed = house.run("admin", "token", "list").out
    assert "pipeline" in listed
    assert "machine" in listed
    assert "revoked" in listed


def test_a_token_for_somebody_else_wants_the_right(house: CliWorkspace) -> None:
    ran = house.run("developer", "token", "create", "theirs", "--subject", "owner")
    assert (ran.code, ran.out) == (3, "")


def test_a_token_for_ever_is_refused(house: CliWorkspace) -> None:
    assert house.run("developer", "token", "create", "laptop", "--expires", "366d").code == 2
