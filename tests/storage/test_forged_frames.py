"""Tests of the MACs of the store: every change of its files is noticed, and the error names file, frame and offset."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealyard.model.errors import StoreCorruptedError, WorkspaceError
from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from sealyard.storage.frame_chain import FrameChain, StoreCredentials
from sealyard.storage.frame_format import split_line
from sealyard.storage.opening import StoreOpening
from tests.support.legacy_store import write_legacy_store
from tests.support.store_helpers import CREDENTIALS, open_test_store, read_documents, read_files

SNAPSHOT, JOURNAL = "snapshot-2.log", "journal-2.log"

OTHER_KEY = StoreCredentials(b"\1" * 32, CREDENTIALS.workspace_id)
OTHER_WORKSPACE = StoreCredentials(CREDENTIALS.key, "w2")


def write_store(
    folder: Path, *, commits: int = 4, size: int = 3, credentials: StoreCredentials = CREDENTIALS, text: str = ""
) -> StoreGeneration:
    """Write a store with a snapshot and a journal, and return its generation."""
    store = TinyDocumentStore.open(StoreOpening.start(folder), {}, credentials, None)
    store.submit(WriteBatch(puts=tuple(("tasks", f"s{n}", {"n": n, "text": text}) for n in range(size)))).result()
    store.compact(0)
    for n in range(commits):
        store.submit(WriteBatch(puts=(("tasks", f"j{n}", {"n": n}),), audit=({"seq": n},))).result()
    generation = store.generation
    assert generation is not None
    store.close()
    return generation


def require_refused(folder: Path, recorded: StoreGeneration | None = None, match: str = r"at byte \d+") -> str:
    before = read_files(folder)
    with pytest.raises(StoreCorruptedError, match=match) as caught:
        open_test_store(folder, recorded=recorded)
    assert read_files(folder) == before
    assert "Nothing was changed" in caught.value.hint
    return caught.value.message


def with_checksum(line: bytes) -> bytes:
    """Correct the checksum of a line, which needs no key."""
    return b"%08x %b" % (zlib.crc32(line[9:-1]), line[9:])


def rewrite(folder: Path, name: str, change: Callable[[list[bytes]], list[bytes]]) -> list[bytes]:
    """Change the lines of a file, and return the lines before."""
    lines = (folder / name).read_bytes().splitlines(keepends=True)
    (folder / name).write_bytes(b"".join(change(list(lines))))
    return lines


def renumber(lines: list[bytes], first_seq: int) -> list[bytes]:
    """Correct sequence numbers and checksums, so that only the MACs are wrong."""
    return [
        with_checksum(re.sub(rb'\{"seq":\d+', b'{"seq":%d' % seq, line, count=1))
        for seq, line in enumerate(lines, first_seq)
    ]


@pytest.mark.parametrize("name", [SNAPSHOT, JOURNAL])
def test_every_changed_byte_is_noticed(tmp_path: Path, name: str) -> None:
    """Each byte is changed in three ways: one bit, all bits, and to zero."""
    folder = tmp_path / "store"
    write_store(folder)
    path = folder / name
    content = path.read_bytes()
    assert len(content) % 512 != 1, "a last sector of one byte cannot be told from an unwritten one"
    for position, byte in enumerate(content):
        for changed_byte in {byte ^ 1, byte ^ 255, 0}:
            path.write_bytes(content[:position] + bytes([changed_byte]) + content[position + 1 :])
            with pytest.raises(StoreCorruptedError, match=re.escape(name)):
                open_test_store(folder)


@pytest.mark.parametrize("name", [SNAPSHOT, JOURNAL])
def test_every_changed_byte_with_correct_checksum_is_noticed(tmp_path: Path, name: str) -> None:
    """An attacker corrects the checksum of the changed line, which then is valid without the key."""
    folder = tmp_path / "store"
    write_store(folder)
    path = folder / name
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines):
        for position in range(9, len(line) - 1):
            changed_line = with_checksum(line[:position] + bytes([line[position] ^ 1]) + line[position + 1 :])
            path.write_bytes(b"".join([*lines[:number], changed_line, *lines[number + 1 :]]))
            # A changed format number looks like a newer version, and a changed `journal_seq` like a damaged journal.
            with pytest.raises((StoreCorruptedError, WorkspaceError), match=r"\.log at byte \d+|has format 3"):
                open_test_store(folder)


@pytest.mark.parametrize("name", [SNAPSHOT, JOURNAL])
def test_sampled_changes_of_large_store_are_noticed(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "store"
    write_store(folder, commits=200, size=500, text="x" * 500)
    path = folder / name
    content = path.read_bytes()
    sample = random.Random(15)
    for _ in range(60):
        position = sample.randrange(len(content))
        changed_byte = content[position] ^ sample.randrange(1, 256)
        path.write_bytes(content[:position] + bytes([changed_byte]) + content[position + 1 :])
        with pytest.raises(StoreCorruptedError, match=re.escape(name)):
            open_test_store(folder)


def test_error_names_file_frame_and_offset(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    write_store(folder)
    lines = rewrite(
        folder, JOURNAL, lambda lines: [*lines[:2], with_checksum(lines[2].replace(b'"n":1', b'"n":7')), *lines[3:]]
    )
    message = require_refused(folder)
    first_seq = int(re.findall(rb'"seq":(\d+)', lines[0])[0])
    assert f"journal-2.log at byte {len(lines[0] + lines[1])}: the MAC of frame {first_seq + 2} is wrong" in message


def test_changed_last_frame_is_no_torn_write(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    write_store(folder)
    rewrite(folder, JOURNAL, lambda lines: [*lines[:-1], with_checksum(lines[-1].replace(b'"n":3', b'"n":7'))])
    require_refused(folder, match="MAC of frame")


def test_frame_without_mac_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    write_store(folder)
    rewrite(
        folder, JOURNAL, lambda lines: [*lines[:-1], with_checksum(lines[-1][:9] + split_line(lines[-1])[1] + b"\n")]
    )
    require_refused(folder, match="MAC of frame")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("name", [SNAPSHOT, JOURNAL])
def test_rearranged_frames_are_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    """Frames are removed in the middle, repeated or exchanged. Sequence numbers and checksums are corrected."""
    folder = tmp_path_factory.mktemp("rearranged")
    write_store(folder, commits=5, size=5, text="x" * (40 << 10))  # two documents in each frame of the snapshot
    lines = (folder / name).read_bytes().splitlines(keepends=True)
    first_seq = int(re.findall(rb'"seq":(\d+)', lines[0])[0])
    arrangement = data.draw(st.lists(st.sampled_from(range(len(lines))), min_size=1, max_size=len(lines) + 2))
    is_prefix = arrangement == list(range(len(arrangement)))
    changed_lines = [lines[number] for number in arrangement]
    if data.draw(st.booleans()):
        changed_lines = renumber(changed_lines, first_seq)
    (folder / name).write_bytes(b"".join(changed_lines))
    if is_prefix and (name == JOURNAL or len(arrangement) == len(lines)):
        open_test_store(folder).close()  # removal at the end: noticed by the audit log, not here
        return
    require_refused(folder)


@pytest.mark.parametrize("credentials", [OTHER_KEY, OTHER_WORKSPACE], ids=["key", "workspace"])
@pytest.mark.parametrize("name", [SNAPSHOT, JOURNAL, None])
def test_files_of_another_workspace_are_refused(
    tmp_path: Path, credentials: StoreCredentials, name: str | None
) -> None:
    write_store(tmp_path / "store")
    write_store(tmp_path / "other", credentials=credentials)
    for each in (SNAPSHOT, JOURNAL) if name is None else (name,):
        (tmp_path / "other" / each).replace(tmp_path / "store" / each)
    require_refused(tmp_path / "store", match="MAC of frame")


@pytest.mark.parametrize("credentials", [CREDENTIALS, OTHER_WORKSPACE], ids=["same", "other workspace"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_frames_of_another_store_are_refused(tmp_path: Path, credentials: StoreCredentials, count: int) -> None:
    """The last frames come from a store with another history, under the same key."""
    write_store(tmp_path / "store")
    write_store(tmp_path / "other", credentials=credentials, text="another history")
    other_lines = (tmp_path / "other" / JOURNAL).read_bytes().splitlines(keepends=True)
    rewrite(tmp_path / "store", JOURNAL, lambda lines: [*lines[:-count], *other_lines[-count:]])
    require_refused(tmp_path / "store", match="MAC of frame")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_frames_of_generation_before_are_refused(tmp_path: Path, count: int) -> None:
    """The journal continues with a frame of the generation before, which was signed with the same key."""
    folder = tmp_path / "store"
    store = open_test_store(folder)
    for n in range(3):
        store.submit(WriteBatch(puts=(("tasks", f"a{n}", {"n": n}),))).result()
    former_lines = (folder / "journal-1.log").read_bytes().splitlines(keepends=True)
    store.compact(0)
    store.submit(WriteBatch(puts=(("tasks", "b", {}),))).result()
    store.close()
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    next_seq = int(re.findall(rb'"seq":(\d+)', lines[-1])[0]) + 1
    (folder / JOURNAL).write_bytes(b"".join([*lines, *renumber([former_lines[count + 1]], next_seq)]))
    require_refused(folder, match="MAC of frame")


def test_snapshot_of_another_generation_with_same_number_is_refused(tmp_path: Path) -> None:
    write_store(tmp_path / "store")
    write_store(tmp_path / "other", text="another history")
    (tmp_path / "other" / SNAPSHOT).replace(tmp_path / "store" / SNAPSHOT)
    require_refused(tmp_path / "store", match="MAC of frame")


def test_reader_without_key_reads_forged_frame(tmp_path: Path) -> None:
    """A reader cannot verify: its documents are unverified."""
    folder = tmp_path / "store"
    write_store(folder)
    rewrite(folder, JOURNAL, lambda lines: [*lines[:-1], with_checksum(lines[-1].replace(b'"n":3', b'"n":7'))])
    assert read_documents(TinyDocumentStore.open_reader(folder, {}))["tasks"]["j3"] == {"n": 7}


# ---- the recorded generation


def test_recorded_generation_is_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    recorded = write_store(folder)
    open_test_store(folder, recorded=recorded).close()


def test_next_generation_is_accepted_after_crash(tmp_path: Path) -> None:
    """The process was killed after it had completed a generation, and before it recorded it."""
    folder = tmp_path / "store"
    recorded = write_store(folder)
    store = open_test_store(folder, recorded=recorded)
    store.compact(0)
    store.close()
    store = open_test_store(folder, recorded=recorded)
    assert store.generation is not None
    assert store.generation.number == recorded.number + 1
    store.close()


def test_older_generation_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    recorded = write_store(folder)
    backup = read_files(folder)
    store = open_test_store(folder, recorded=recorded)
    store.compact(0)
    newest = store.generation
    store.close()
    for path in folder.iterdir():
        path.unlink()
    for name, content in backup.items():
        (folder / name).write_bytes(content)
    require_refused(folder, newest, match="put back to an older state. It has generation 2, .* recorded generation 3")


def test_other_generation_with_recorded_number_is_refused(tmp_path: Path) -> None:
    recorded = write_store(tmp_path / "store")
    write_store(tmp_path / "other", text="another history")
    require_refused(tmp_path / "other", recorded, match="replaced: its generation 2 does not follow generation 2")


def test_generation_that_does_not_follow_is_refused(tmp_path: Path) -> None:
    recorded = write_store(tmp_path / "store")
    other = write_store(tmp_path / "other", text="another history")
    for _ in range(2):
        store = open_test_store(tmp_path / "other", recorded=other)
        store.compact(0)
        assert store.generation is not None
        other = store.generation
        store.close()
        require_refused(tmp_path / "other", recorded, match="does not follow")


def test_removed_store_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    recorded = write_store(folder)
    for path in folder.iterdir():
        path.unlink()
    require_refused(folder, recorded, match="was removed")


def test_deeply_nested_frame_is_damage(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    write_store(folder)
    line = with_checksum(b"0" * 8 + b" " + b"0" * 64 + b" " + b"[" * 200_000 + b"\n")
    rewrite(folder, JOURNAL, lambda lines: [*lines, line])
    require_refused(folder)


# ---- stores of earlier versions


def test_legacy_store_is_migrated_once(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    write_store(folder)
    store = open_test_store(folder)
    expected = (read_documents(store), store.pending_audit())
    store.close()
    write_legacy_store(folder)
    reader = TinyDocumentStore.open_reader(folder, {})
    assert (read_documents(reader), reader.pending_audit()) == expected
    store = open_test_store(folder)
    assert store.was_migrated
    assert (read_documents(store), store.pending_audit()) == expected
    assert store.generation is not None
    assert store.generation.number == 3
    recorded = store.generation
    store.submit(WriteBatch(puts=(("tasks", "later", {}),))).result()
    store.close()
    assert sorted(path.name for path in folder.iterdir()) == ["journal-3.log", "snapshot-3.log"]
    store = open_test_store(folder, recorded=recorded)
    assert not store.was_migrated
    assert store.get("tasks", "later") == {}
    store.close()


@pytest.mark.parametrize("is_torn", [False, True])
def test_legacy_store_is_refused_after_migration(tmp_path: Path, is_torn: bool) -> None:
    """A store without MACs can be written without the key: it is a downgrade once the store had MACs."""
    folder = tmp_path / "store"
    recorded = write_store(folder)
    write_legacy_store(folder)
    if is_torn:
        (folder / JOURNAL).write_bytes((folder / JOURNAL).read_bytes()[:-5])
    require_refused(folder, recorded, match="generation 2 has no MACs")


def test_torn_legacy_store_is_migrated(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    write_store(folder)
    write_legacy_store(folder)
    path = folder / JOURNAL
    path.write_bytes(path.read_bytes()[:-5])
    store = open_test_store(folder)
    assert store.torn is not None
    assert set(read_documents(store)["tasks"]) == {"s0", "s1", "s2", "j0", "j1", "j2"}
    store.close()
    open_test_store(folder).close()


def test_legacy_journal_with_snapshot_that_has_macs_is_refused(tmp_path: Path) -> None:
    write_store(tmp_path / "store")
    write_store(tmp_path / "legacy")
    write_legacy_store(tmp_path / "legacy")
    (tmp_path / "legacy" / JOURNAL).replace(tmp_path / "store" / JOURNAL)
    require_refused(tmp_path / "store", match="does not belong to generation 2")


def test_credentials_hide_their_key() -> None:
    assert CREDENTIALS.key.hex() not in repr(CREDENTIALS)
    assert repr(CREDENTIALS.key) not in repr(CREDENTIALS)
    assert CREDENTIALS.key not in repr(FrameChain.begin(CREDENTIALS, 1, "")).encode()
