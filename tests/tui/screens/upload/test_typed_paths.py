"""Paths as people write them: quoted, several, as URLs, half typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealyard_tui.widgets.path_parsing import complete_path, parse_paths, resolve_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.bin", "a b.bin", "it's.bin", "100% ü.bin", ".hidden", "odd\x1bname"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "apps" / "deep").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.bin", ["a.bin"]),
        ("a b.bin", ["a b.bin"]),
        ("'a b.bin' a.bin", ["a b.bin", "a.bin"]),
        ("a\\ b.bin", ["a b.bin"]),
        ("it's.bin", ["it's.bin"]),
        ('"it\'s.bin" a.bin', ["it's.bin", "a.bin"]),
        ("a.bin\r\n\r\n  a b.bin\n", ["a.bin", "a b.bin"]),
        ("./apps/../a.bin", ["a.bin"]),
        ("a.bin a.bin", ["a.bin"]),
    ],
)
def test_what_is_written_is_found(folder: Path, text: str, names: list[str]) -> None:
    found = parse_paths(text, folder)
    assert [each.name for each in found.paths] == names
    assert found.missing == ()


def test_urls_of_files_are_found(folder: Path) -> None:
    found = parse_paths((folder / "100% ü.bin").as_uri(), Path("/"))
    assert found.paths == (folder / "100% ü.bin",)


def test_what_is_missing_is_told_and_the_rest_found(folder: Path) -> None:
    found = parse_paths("a.bin 'no such'\nneither\nunbalanced 'quote", folder)
    assert [each.name for each in found.paths] == ["a.bin"]
    assert found.missing == ("no such", "neither", "unbalanced 'quote")


def test_a_missing_path_with_blanks_is_told_as_one(folder: Path) -> None:
    assert parse_paths("my missing file.bin", folder).missing == ("my missing file.bin",)


@pytest.mark.parametrize("text", ["\x00", "~nobody-here/x", "file://", "/" + "x" * 5000])
def test_nonsense_is_only_missing(folder: Path, text: str) -> None:
    found = parse_paths(text, folder / "nowhere")
    assert (found.paths, found.missing) == ((), (text,))


def test_one_folder_alone_is_told_as_such(folder: Path) -> None:
    assert parse_paths("apps", folder).folder == folder / "apps"
    assert parse_paths("apps a.bin", folder).folder is None


def test_home_is_understood(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert resolve_path("~/a.bin", Path("/")) == folder / "a.bin"


def test_tab_completes_as_far_as_names_agree(folder: Path) -> None:
    one = complete_path("apps/d", folder)
    assert (one.text, one.candidates) == ("apps/deep/", ())
    several = complete_path("a", folder)
    assert several.text == "a"
    assert several.candidates == ("a b.bin", "a.bin", "apps/")
    assert complete_path("a", folder, folders_only=True).text == "apps/"


def test_hidden_names_are_completed_where_they_are_begun(folder: Path) -> None:
    assert ".hidden" not in complete_path("", folder).candidates
    assert complete_path(".h", folder).text == ".hidden"


def test_a_name_that_cannot_be_typed_is_counted_not_completed(folder: Path) -> None:
    completion = complete_path("odd", folder)
    assert (completion.text, completion.unprintable) == ("odd", 1)


def test_a_folder_that_is_not_there_completes_nothing(folder: Path) -> None:
    assert complete_path("/no/such/x", folder).text == "/no/such/x"
