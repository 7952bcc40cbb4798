"""Bad input: a clear error that says what to do, nothing half-done left behind, nothing lost."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cli_runner import LIMIT, CliWorkspace, command


def _missing(folder: Path) -> list[object]:
    return ["--firmware", folder / "missing.bin"]


def _empty(folder: Path) -> list[object]:
    (folder / "empty.bin").touch()
    return ["--firmware", folder / "empty.bin"]


def _directory(folder: Path) -> list[object]:
    return ["--firmware", folder]


def _second_missing(folder: Path) -> list[object]:
    return ["--firmware", _small(folder), folder / "missing.bin"]


def _wrong_digest(folder: Path) -> list[object]:
    return ["--firmware", _small(folder), "--sha256", "0" * 64]


def _no_digest(folder: Path) -> list[object]:
    return ["--firmware", _small(folder), "--sha256", "abc"]


def _too_many(folder: Path) -> list[object]:
    return ["--firmware", *[_small(folder)] * 256]


def _too_much_metadata(folder: Path) -> list[object]:
    (folder / "large.json").write_bytes(b" " * 70_000)
    return ["--firmware", _small(folder), "--metadata", folder / "large.json"]


def _long_name(folder: Path) -> list[object]:
    return ["--firmware", _small(folder), "--name", "n" * 1000]


def _small(folder: Path) -> Path:
    path = folder / "small.bin"
    path.write_bytes(b"small")
    return path


@pytest.mark.parametrize(
    "bad",
    [
        *(_missing, _empty, _directory, _second_missing, _wrong_digest, _no_digest, _too_many),
        *(_too_much_metadata, _long_name),
    ],
)
def test_a_bad_package_is_refused_and_leaves_nothing(
    house: CliWorkspace, tmp_path: Path, bad: Callable[[Path], list[object]]
) -> None:
    before, tasks = house.files(), house.value("developer", "tasks")
    ran = house.run("developer", "package", "--device", "gateway", *bad(tmp_path))
    assert ran.code in (1, 2)
    assert ran.err.count("\n") == 2, "a message, and what to do"
    assert house.files() == before
    assert house.value("developer", "tasks") == tasks


def test_what_the_format_cannot_hold_names_the_one_that_will(house: CliWorkspace, tmp_path: Path) -> None:
    ran = house.run("developer", "package", "--device", "gateway", *_too_many(tmp_path), "--json")
    assert ran.value["error"]["code"] == "format-limit"
    assert "limit of the se-1 format" in ran.err


def test_an_unknown_configuration_leaves_no_upload(house: CliWorkspace, firmware: Path) -> None:
    before = house.files()
    for asked in (("package", "--firmware", firmware), ("encrypt", firmware)):
        assert house.run("developer", *asked, "--device", "nowhere").code == 4
    assert house.files() == before


def test_a_full_disk_is_told_and_nothing_is_half_stored(house: CliWorkspace, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(b"x" * 4_000_000)
    before = house.files()

    def no_large_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = subprocess.run(
        command(*house.as_user("developer", "encrypt", "--device", "gateway", large)),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        preexec_fn=no_large_files,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("sealyard: ")
    assert "Traceback" not in done.stderr
    assert house.files() == before
    assert house.run("developer", "encrypt", "--device", "gateway", large).code == 0


def test_a_damaged_key_store_is_told_and_not_replaced(house: CliWorkspace) -> None:
    keyring = house.folder / "keys" / "keyring.json"
    whole = keyring.read_bytes()
    keyring.write_bytes(whole[: len(whole) // 2])
    ran = house.run("admin", "subject", "add", "anna", "--json")
    assert (ran.code, ran.value["error"]["code"]) == (1, "key-store-damaged")
    assert keyring.read_bytes() == whole[: len(whole) // 2]
    keyring.write_bytes(whole)
    assert house.run("admin", "subject", "add", "anna").code == 0


def test_a_file_that_is_no_container_is_told_apart(house: CliWorkspace, firmware: Path, tmp_path: Path) -> None:
    certificate = tmp_path / "c.pem"
    certificate.write_text(house.run("admin", "device", "certificates", "gateway").out)
    empty = tmp_path / "empty"
    empty.touch()
    for path in (firmware, empty, tmp_path, tmp_path / "missing", certificate):
        ran = house.run("developer", "verify", path, "--certificate", certificate)
        assert ran.code == 1
        assert "Traceback" not in ran.err


def test_open_refuses_a_key_of_another_length_and_writes_nothing(house: CliWorkspace, tmp_path: Path) -> None:
    down, certificate, key = tmp_path / "down", tmp_path / "c.pem", tmp_path / "key"
    house.value("developer", "download", house.done, "--out", down)
    certificate.write_text(house.run("admin", "device", "certificates", "gateway").out)
    key.write_bytes(b"short")
    container = next(down.iterdir())
    ran = house.run(
        "developer", "extract", container, "--certificate", certificate, "--key", key, "--out", tmp_path / "out"
    )
    assert ran.code == 1
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_of_profiles_is_told(house: CliWorkspace, home: Path) -> None:
    path = home / "config" / "sealyard" / "profiles.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    ran = house.run("nobody", "tasks")
    assert ran.code == 1
    assert str(path) in ran.err
