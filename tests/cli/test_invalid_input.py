"""Test that invalid input is reported with a hint and leaves the workspace unchanged."""

from __future__ import annotations

import hashlib
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cli_runner import CliWorkspace, command
from tests.support.limits import TIMEOUT


def _missing_file(folder: Path) -> list[object]:
    return ["--firmware", folder / "missing.bin"]


def _empty_file(folder: Path) -> list[object]:
    (folder / "empty.bin").touch()
    return ["--firmware", folder / "empty.bin"]


def _directory(folder: Path) -> list[object]:
    return ["--firmware", folder]


def _second_file_missing(folder: Path) -> list[object]:
    return ["--firmware", _create_small_file(folder), folder / "missing.bin"]


def _wrong_digest(folder: Path) -> list[object]:
    return ["--firmware", _create_small_file(folder), "--sha256", "0" * 64]


def _malformed_digest(folder: Path) -> list[object]:
    return ["--firmware", _create_small_file(folder), "--sha256", "abc"]


def _too_many_files(folder: Path) -> list[object]:
    return ["--firmware", *[_create_small_file(folder)] * 256]


def _too_much_metadata(folder: Path) -> list[object]:
    (folder / "large.json").write_bytes(b" " * 70_000)
    return ["--firmware", _create_small_file(folder), "--metadata", folder / "large.json"]


def _long_name(folder: Path) -> list[object]:
    return ["--firmware", _create_small_file(folder), "--name", "n" * 1000]


def _create_small_file(folder: Path) -> Path:
    path = folder / "small.bin"
    path.write_bytes(b"small")
    return path


@pytest.mark.parametrize(
    "create_arguments",
    [
        *(
            _missing_file,
            _empty_file,
            _directory,
            _second_file_missing,
            _wrong_digest,
            _malformed_digest,
            _too_many_files,
        ),
        *(_too_much_metadata, _long_name),
    ],
)
def test_invalid_package_is_rejected_without_changes(
    workspace: CliWorkspace, tmp_path: Path, create_arguments: Callable[[Path], list[object]]
) -> None:
    before, tasks = workspace.files(), workspace.value("developer", "tasks")
    result = workspace.run("developer", "package", "--device", "gateway", *create_arguments(tmp_path))
    assert result.code in (1, 2)
    assert result.err.count("\n") == 2, "a message and a hint"
    assert workspace.files() == before
    assert workspace.value("developer", "tasks") == tasks


PATH_ARGUMENTS: tuple[tuple[object, ...], ...] = (
    ("package", "--device", "gateway", "--firmware"),
    ("package", "--device", "gateway", "--firmware", "small.bin", "--metadata"),
    ("encrypt", "--device", "gateway"),
    ("sign", "--device", "gateway", "--file"),
    ("resubmit", "t1", "--file"),
    ("verify", "--certificate", "small.bin"),
    ("verify", "small.bin", "--certificate"),
    ("extract", "small.bin", "--certificate", "small.bin", "--out", "out", "--key"),
    ("key", "import", "local:new", "--kind", "AES_256", "--file"),
    ("key", "import", "local:new", "--kind", "AES_256", "--file", "small.bin", "--certificate"),
    ("key", "import", "local:new", "--kind", "AES_256", "--file", "small.bin", "--password-file"),
    ("key", "certificate", "local:new", "--chain"),
    ("audit", "verify", "--checkpoint"),
    ("login", "https://seal.example", "--ca"),
    ("serve", "--config"),
    ("watch", "--device", "gateway"),
)
"""Arguments before the path of a file or folder that a command reads."""


@pytest.mark.parametrize("arguments", PATH_ARGUMENTS)
def test_unexpanded_pattern_is_explained(
    workspace: CliWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    _create_small_file(tmp_path)
    result = workspace.run("developer", *arguments, "*.bin")
    assert result.code == 2
    assert "the shell did not expand the pattern '*.bin'; write it without quotes" in result.err
    result = workspace.run("developer", *arguments, "../*.json")
    assert result.code == 2
    assert "no file matches '../*.json'" in result.err


def test_name_that_looks_like_a_pattern_is_a_path(shared_workspace: CliWorkspace, tmp_path: Path) -> None:
    path = tmp_path / "[beta]*.bin"
    path.write_bytes(b"small")
    assert shared_workspace.package(path)["inputs"][0]["name"] == path.name


def test_format_limit_error_names_format(module_workspace: CliWorkspace, tmp_path: Path) -> None:
    result = module_workspace.run("developer", "package", "--device", "gateway", *_too_many_files(tmp_path), "--json")
    assert result.value["error"]["code"] == "format-limit"
    assert "limit of the se-1 format" in result.err


def test_unknown_configuration_stores_no_upload(module_workspace: CliWorkspace, firmware: Path) -> None:
    before = module_workspace.files()
    for arguments in (("package", "--firmware", firmware), ("encrypt", firmware)):
        assert module_workspace.run("developer", *arguments, "--device", "nowhere").code == 4
    assert module_workspace.files() == before


def test_full_disk_stores_no_partial_files(workspace: CliWorkspace, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(b"x" * 4_000_000)
    before = workspace.files()

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    process = subprocess.run(
        command(*workspace.as_user("developer", "encrypt", "--device", "gateway", large)),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        preexec_fn=limit_file_size,
    )
    assert process.returncode == 1
    assert process.stderr.startswith("sealyard: ")
    assert "Traceback" not in process.stderr
    assert workspace.files() == before
    assert workspace.run("developer", "encrypt", "--device", "gateway", large).code == 0


def test_full_disk_leaves_no_partial_export(workspace: CliWorkspace, tmp_path: Path) -> None:
    out = tmp_path / "audit.jsonl"

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    process = subprocess.run(
        command(*workspace.as_user("auditor", "audit", "export", "--format", "jsonl", "--out", out)),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        preexec_fn=limit_file_size,
    )
    assert process.returncode == 1
    assert process.stderr.startswith(f"sealyard: Not enough disk space for writing {out}")
    assert not out.exists()


def test_damaged_key_store_is_not_replaced(workspace: CliWorkspace) -> None:
    keyring = workspace.folder / "keys" / "keyring.json"
    whole = keyring.read_bytes()
    keyring.write_bytes(whole[: len(whole) // 2])
    result = workspace.run("admin", "subject", "add", "anna", "--json")
    assert (result.code, result.value["error"]["code"]) == (1, "key-store-damaged")
    assert keyring.read_bytes() == whole[: len(whole) // 2]
    keyring.write_bytes(whole)
    assert workspace.run("admin", "subject", "add", "anna").code == 0


def test_verify_invalid_container_exits_with_1(workspace: CliWorkspace, firmware: Path, tmp_path: Path) -> None:
    certificate = tmp_path / "c.pem"
    certificate.write_text(workspace.run("admin", "device", "certificates", "gateway").out)
    empty = tmp_path / "empty"
    empty.touch()
    for path in (firmware, empty, tmp_path, tmp_path / "missing", certificate):
        result = workspace.run("developer", "verify", path, "--certificate", certificate)
        assert result.code == 1
        assert "Traceback" not in result.err


def test_extract_wrong_key_length_writes_nothing(shared_workspace: CliWorkspace, tmp_path: Path) -> None:
    down, certificate, key = tmp_path / "down", tmp_path / "c.pem", tmp_path / "key"
    shared_workspace.value("developer", "download", shared_workspace.done, "--out", down)
    certificate.write_text(shared_workspace.run("admin", "device", "certificates", "gateway").out)
    key.write_bytes(b"short")
    container = next(down.iterdir())
    result = shared_workspace.run(
        "developer", "extract", container, "--certificate", certificate, "--key", key, "--out", tmp_path / "out"
    )
    assert result.code == 1
    assert not (tmp_path / "out").exists()


def test_damaged_profiles_file_is_reported(workspace: CliWorkspace, home: Path) -> None:
    path = home / "config" / "sealyard" / "profiles.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    result = workspace.run("nobody", "tasks")
    assert result.code == 1
    assert str(path) in result.err


@pytest.mark.parametrize("spelling", ["{}", "sha256:{}", "SHA256:{}"])
def test_expected_digest_may_have_prefix(shared_workspace: CliWorkspace, firmware: Path, spelling: str) -> None:
    digest = spelling.format(hashlib.sha256(firmware.read_bytes()).hexdigest())
    for arguments in (("package", "--firmware", firmware), ("encrypt", firmware)):
        result = shared_workspace.run("developer", *arguments, "--device", "gateway", "--sha256", digest)
        assert result.code == 0, result


def test_digest_of_other_algorithm_is_named(workspace: CliWorkspace, firmware: Path) -> None:
    digest = hashlib.sha1(firmware.read_bytes()).hexdigest()
    result = workspace.run("developer", "encrypt", firmware, "--device", "gateway", "--sha256", digest)
    assert result.code == 2
    assert "it has the length of SHA-1" in result.err
    assert "64 hexadecimal digits" in result.err
