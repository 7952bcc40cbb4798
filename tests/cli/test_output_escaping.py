"""Foreign text on a terminal: names of files, tasks and people move nothing and hide nothing."""

from __future__ import annotations

from pathlib import Path

from tests.support.cli_runner import CliWorkspace, sealyard

HOSTILE = "evil\x1b]0;owned\x07\x1b[2J\u202egnp.bin"
DANGEROUS = ("\x1b", "\x07", "\u202e", "\x9b")


def _is_harmless(text: str) -> bool:
    return not any(each in text for each in DANGEROUS)


def test_a_hostile_file_name_is_shown_in_escapes(house: CliWorkspace, tmp_path: Path) -> None:
    firmware, metadata = tmp_path / HOSTILE, tmp_path / f"{HOSTILE}.json"
    firmware.write_bytes(b"firmware" * 100)
    metadata.write_text("\x1b[31mred\u202e\nsecond line\n")
    asked = house.run("developer", "package", "--device", "gateway", "--firmware", firmware, "--metadata", metadata)
    assert asked.code == 0
    task = house.value("developer", "tasks", "--mine", "--limit", "1")[0]
    assert task["inputs"][0]["name"] == HOSTILE
    outputs = [
        asked,
        house.run("owner", "tasks"),
        house.run("owner", "tasks", "--json"),
        house.run("owner", "show", task["id"]),
        house.run("owner", "show", task["id"], "--json"),
        house.run("owner", "reject", task["id"], "--reason", f"no {HOSTILE}"),
        house.run("auditor", "audit", "list"),
        house.run("auditor", "audit", "list", "--json"),
    ]
    for ran in outputs:
        assert ran.code == 0
        assert _is_harmless(ran.out + ran.err)
    assert "\\x1b[31mred" in outputs[3].out
    assert "  | second line" in outputs[3].out.splitlines()


def test_hostile_arguments_are_not_echoed_raw(house: CliWorkspace, tmp_path: Path) -> None:
    for arguments in (
        (HOSTILE,),
        ("--workspace", tmp_path / HOSTILE, "tasks"),
        ("--profile", HOSTILE, "tasks"),
        house.as_user("admin", "show", HOSTILE),
        house.as_user("admin", "subject", "add", HOSTILE),
        house.as_user("admin", "tasks", "--status", HOSTILE),
        house.as_user("developer", "encrypt", "--device", "gateway", tmp_path / HOSTILE),
        house.as_user("developer", "encrypt", "--device", HOSTILE, tmp_path),
        ("verify", tmp_path / HOSTILE, "--certificate", "c"),
    ):
        ran = sealyard(*arguments, "--json")
        assert ran.code != 0
        assert ran.err != ""
        assert _is_harmless(ran.out + ran.err), arguments


def test_a_display_name_does_not_break_the_table(house: CliWorkspace) -> None:
    house.value("admin", "subject", "add", "anna", "--display-name", "Anna\nUSER:root  \x1b[1A")
    lines = house.run("admin", "subject", "list").out.splitlines()
    assert len(lines) == 1 + 5
    assert _is_harmless("".join(lines))
