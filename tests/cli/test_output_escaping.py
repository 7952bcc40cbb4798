"""Test that control characters in file names, task names and arguments are escaped in the output."""

from __future__ import annotations

from pathlib import Path

from tests.support.cli_runner import CliWorkspace, sealyard

HOSTILE = "evil\x1b]0;owned\x07\x1b[2J\u202egnp.bin"
DANGEROUS = ("\x1b", "\x07", "\u202e", "\x9b")


def _is_harmless(text: str) -> bool:
    return not any(each in text for each in DANGEROUS)


def test_hostile_file_name_is_escaped(idle_workspace: CliWorkspace, tmp_path: Path) -> None:
    firmware, metadata = tmp_path / HOSTILE, tmp_path / f"{HOSTILE}.json"
    firmware.write_bytes(b"firmware" * 100)
    metadata.write_text("\x1b[31mred\u202e\nsecond line\n")
    submission = idle_workspace.run(
        "developer", "package", "--device", "gateway", "--firmware", firmware, "--metadata", metadata
    )
    assert submission.code == 0
    task = idle_workspace.value("developer", "tasks", "--mine", "--limit", "1")[0]
    assert task["inputs"][0]["name"] == HOSTILE
    outputs = [
        submission,
        idle_workspace.run("owner", "tasks"),
        idle_workspace.run("owner", "tasks", "--json"),
        idle_workspace.run("owner", "show", task["id"]),
        idle_workspace.run("owner", "show", task["id"], "--json"),
        idle_workspace.run("owner", "reject", task["id"], "--reason", f"no {HOSTILE}"),
        idle_workspace.run("auditor", "audit", "list"),
        idle_workspace.run("auditor", "audit", "list", "--json"),
    ]
    for result in outputs:
        assert result.code == 0
        assert _is_harmless(result.out + result.err)
    assert "\\x1b[31mred" in outputs[3].out
    assert "  | second line" in outputs[3].out.splitlines()


def test_hostile_arguments_are_escaped(shared_workspace: CliWorkspace, tmp_path: Path) -> None:
    for arguments in (
        (HOSTILE,),
        ("--workspace", tmp_path / HOSTILE, "tasks"),
        ("--profile", HOSTILE, "tasks"),
        shared_workspace.as_user("admin", "show", HOSTILE),
        shared_workspace.as_user("admin", "subject", "add", HOSTILE),
        shared_workspace.as_user("admin", "tasks", "--status", HOSTILE),
        shared_workspace.as_user("developer", "encrypt", "--device", "gateway", tmp_path / HOSTILE),
        shared_workspace.as_user("developer", "encrypt", "--device", HOSTILE, tmp_path),
        ("verify", tmp_path / HOSTILE, "--certificate", "c"),
    ):
        result = sealyard(*arguments, "--json")
        assert result.code != 0
        assert result.err != ""
        assert _is_harmless(result.out + result.err), arguments


def test_hostile_display_name_keeps_one_row(workspace: CliWorkspace) -> None:
    workspace.value("admin", "subject", "add", "anna", "--display-name", "Anna\nUSER:root  \x1b[1A")
    lines = workspace.run("admin", "subject", "list").out.splitlines()
    assert len(lines) == 1 + 5
    assert _is_harmless("".join(lines))
