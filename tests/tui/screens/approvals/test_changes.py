"""What changed since the last package: every file and every term, and nothing that did not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.tasks import InputFile
from sealyard_tui.screens.approvals.diff import AttributeChange, ChangeKind, diff_packages
from tests.tui.task_factories import device, file, task


def of(name: str, content: str, size: int = 10) -> InputFile:
    return InputFile(name=name, size=size, sha256=content.rjust(64, "0"))


def test_a_file_is_added_removed_changed_or_same_and_the_growth_is_told() -> None:
    found = diff_packages(
        task("t-1", inputs=(of("boot", "a"), of("old", "b"), of("app", "c", 100))),
        task("t-2", inputs=(of("boot", "a"), of("app", "d", 130), of("new", "e", 7))),
    )
    kinds = [(each.name, each.kind, each.growth) for each in found.firmware]
    assert kinds == [
        ("boot", ChangeKind.SAME, 0),
        ("app", ChangeKind.CHANGED, 30),
        ("new", ChangeKind.ADDED, 7),
        ("old", ChangeKind.REMOVED, -10),
    ]
    app = found.firmware[1]
    assert app.before is not None
    assert app.after is not None
    assert (app.before.sha256[-1], app.after.sha256[-1]) == ("c", "d")
    assert not found.is_empty


def test_the_same_package_again_is_said_to_be_the_same() -> None:
    found = diff_packages(task("t-1", name="gateway"), task("t-2", name="gateway"))
    assert found.is_empty


def test_another_order_of_the_same_firmware_is_told() -> None:
    one, two = file("one"), file("two")
    found = diff_packages(task("t-1", name="g", inputs=(one, two)), task("t-2", name="g", inputs=(two, one)))
    assert found.reordered
    assert not found.is_empty


def test_a_file_put_between_others_is_no_other_order() -> None:
    one, two, new = file("one"), file("two"), file("new")
    assert not diff_packages(task("t-1", inputs=(one, two)), task("t-2", inputs=(one, new, two))).reordered


def test_two_files_of_one_name_are_told_apart() -> None:
    found = diff_packages(task("t-1", inputs=(of("a", "1"),)), task("t-2", inputs=(of("a", "1"), of("a", "2"))))
    assert [each.kind for each in found.firmware] == [ChangeKind.SAME, ChangeKind.ADDED]


def test_a_file_is_known_again_by_its_content_and_by_a_name_of_which_only_numbers_differ() -> None:
    found = diff_packages(
        task("t-1", inputs=(of("boot-1.4.0.bin", "a"), of("app-1.4.0.bin", "b", 5), of("logo.png", "c"))),
        task("t-2", inputs=(of("boot-1.5.12.bin", "a"), of("app-1.5.12.bin", "d", 7), of("brand.png", "c"))),
    )
    assert [(each.name, each.kind, each.growth) for each in found.firmware] == [
        ("boot-1.4.0.bin → boot-1.5.12.bin", ChangeKind.RENAMED, 0),
        ("app-1.4.0.bin → app-1.5.12.bin", ChangeKind.CHANGED, 2),
        ("logo.png → brand.png", ChangeKind.RENAMED, 0),
    ]
    assert not found.reordered
    assert not found.is_empty


def test_name_configuration_keys_and_format_are_compared() -> None:
    earlier = task("t-1", name="1.4", configuration=device(version=1), signing_key=None)
    found = diff_packages(earlier, task("t-2", name="1.5", configuration=device(version=2), format="se-2"))
    terms = {each.term: each for each in found.terms}
    assert set(terms) == {"name", "configuration", "format", "signing"}
    assert terms["name"] == AttributeChange(term="name", before="1.4", after="1.5")
    assert terms["configuration"].after == "gateway version 2"
    assert terms["signing"].before == ""
    assert terms["signing"].after == "ECC_NIST_P256 with local:gateway-signing version 1"


FILES = st.lists(st.builds(of, st.sampled_from("abc"), st.sampled_from("123"), st.integers(0, 9)), max_size=6)


@given(FILES, FILES)
def test_no_file_is_lost_or_told_twice(before: list[InputFile], after: list[InputFile]) -> None:
    found = diff_packages(task("t-1", inputs=tuple(before)), task("t-2", inputs=tuple(after)))
    assert [each.after for each in found.firmware if each.after is not None] == after
    then = [each.before for each in found.firmware if each.before is not None]
    assert sorted(then, key=repr) == sorted(before, key=repr)
