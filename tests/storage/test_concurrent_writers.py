"""Tests of two processes that write to one store: the second is refused, and nothing acknowledged is lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sealyard.fs import locks
from sealyard.model.errors import ConcurrentWriterError, StorageError, WorkspaceLockedError
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from tests.support.processes import killed_at_exit
from tests.support.store_helpers import FailingDisk, OpenStore, read_documents, read_files

WRITER = """
import sys
from pathlib import Path
from sealyard.fs import locks
from sealyard.model.errors import SealyardError
from sealyard.storage.documents import WriteBatch
from tests.support.store_helpers import open_test_store

folder, name, locks_work = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "working-locks"
locks.STALE_LOCK_TIMEOUT = 0
if not locks_work:
    locks.try_lock = lambda fd, shared=False: True
try:
    store = open_test_store(folder)
    print("open", flush=True)
    for n, line in enumerate(sys.stdin):
        for k in range(int(line)):
            document_id = f"{name}-{n}-{k}"
            store.submit(WriteBatch(puts=(("tasks", document_id, {}),))).result()
            print(document_id, flush=True)
        print("ready", flush=True)
except SealyardError as error:
    print(type(error).__name__, flush=True)
"""


class Writer:
    """A process with an open store that commits documents one by one."""

    def __init__(self, folder: Path, name: str, *, locks_work: bool = False) -> None:
        arguments = [str(folder), name, "working-locks" if locks_work else "no-locks"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.acknowledged: list[str] = []
        self.status = self.read_line()

    def read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def start_commits(self, count: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()

    def finish_commits(self) -> str:
        """Wait until the commits are done or refused; return "ready" or the name of the error."""
        while "-" in (line := self.read_line()):
            self.acknowledged.append(line)
        return line

    def commit(self, count: int) -> str:
        self.start_commits(count)
        return self.finish_commits()


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every lock succeed, as on a file system without working locks."""
    monkeypatch.setattr(locks, "try_lock", lambda _fd, **_options: True)


def put(store: TinyDocumentStore, document_id: str) -> None:
    store.submit(WriteBatch(puts=(("tasks", document_id, {}),))).result()


def test_second_process_is_refused_by_journal_lock(folder: Path) -> None:
    first = Writer(folder, "first", locks_work=True)
    with killed_at_exit(first.process):
        assert first.commit(3) == "ready"
        second = Writer(folder, "second", locks_work=True)
        with killed_at_exit(second.process):
            assert second.status == WorkspaceLockedError.__name__
        assert first.commit(3) == "ready"
        before = read_files(folder)
    assert read_files(folder) == before
    assert len(first.acknowledged) == 6


def test_first_process_stops_after_commit_of_second(folder: Path, open_store: OpenStore) -> None:
    first = Writer(folder, "first")
    with killed_at_exit(first.process):
        assert first.commit(3) == "ready"
        second = Writer(folder, "second")
        with killed_at_exit(second.process):
            assert second.commit(3) == "ready"
            assert first.commit(3) == ConcurrentWriterError.__name__
            assert second.commit(3) == "ready"
    stored = read_documents(open_store())["tasks"]
    assert set(stored) == {*first.acknowledged, *second.acknowledged}
    assert len(stored) == 9


def test_simultaneous_writers_lose_no_acknowledged_commit(folder: Path) -> None:
    first, second = Writer(folder, "first"), Writer(folder, "second")
    with killed_at_exit(first.process), killed_at_exit(second.process):
        first.start_commits(500)
        second.start_commits(500)
        results = [first.finish_commits(), second.finish_commits()]
    assert ConcurrentWriterError.__name__ in results
    journal = (folder / "journal-1.log").read_text()
    assert [name for name in (*first.acknowledged, *second.acknowledged) if f'"{name}"' not in journal] == []


@pytest.mark.usefixtures("no_locks")
def test_commit_after_compaction_of_second_is_refused(open_store: OpenStore) -> None:
    first = open_store()
    put(first, "a")
    second = open_store()
    second.compact(0)
    put(second, "b")
    with pytest.raises(ConcurrentWriterError, match=r"Another process changed journal-1\.log"):
        put(first, "c")
    with pytest.raises(ConcurrentWriterError):
        first.compact(0)
    assert read_documents(first) == {"tasks": {"a": {}}}
    second.close()
    assert read_documents(open_store()) == {"tasks": {"a": {}, "b": {}}}


@pytest.mark.usefixtures("no_locks")
def test_compaction_after_commit_of_second_is_refused(folder: Path, open_store: OpenStore) -> None:
    first, second = open_store(), open_store()
    put(second, "a")
    before = read_files(folder)
    with pytest.raises(ConcurrentWriterError):
        first.compact(0)
    assert read_files(folder) == before


def test_commit_to_old_generation_is_refused(folder: Path, open_store: OpenStore) -> None:
    """The other writer has renamed the snapshot of a new generation and not removed the old journal yet."""
    store = open_store()
    shutil.copy(folder / "snapshot-1.log", folder / "snapshot-2.log")
    with pytest.raises(ConcurrentWriterError, match=r"snapshot-2\.log"):
        put(store, "a")


def test_commit_to_replaced_journal_is_refused(folder: Path, open_store: OpenStore) -> None:
    store = open_store()
    put(store, "a")
    shutil.copy(folder / "journal-1.log", folder / "restored")
    (folder / "restored").replace(folder / "journal-1.log")
    with pytest.raises(ConcurrentWriterError):
        put(store, "b")


def test_refusal_persists_when_size_matches_again(folder: Path, open_store: OpenStore) -> None:
    store = open_store()
    journal = folder / "journal-1.log"
    content = journal.read_bytes()
    journal.write_bytes(content + b"x")
    with pytest.raises(ConcurrentWriterError):
        put(store, "a")
    journal.write_bytes(content)
    with pytest.raises(ConcurrentWriterError):
        put(store, "a")
    assert journal.read_bytes() == content


@pytest.mark.usefixtures("no_locks")
def test_repair_keeps_commits_of_second_writer(folder: Path, open_store: OpenStore, failing_disk: FailingDisk) -> None:
    """A failed commit is truncated at the next one, but only if nothing else was appended."""
    first = open_store()
    failing_disk.fail("write_all", "truncate", times=2)
    with pytest.raises(StorageError):
        put(first, "lost")
    second = open_store()
    put(second, "kept")
    before = read_files(folder)
    with pytest.raises(ConcurrentWriterError):
        put(first, "more")
    assert read_files(folder) == before
    second.close()
    assert read_documents(open_store()) == {"tasks": {"kept": {}}}


def test_torn_end_of_running_commit_is_not_removed(
    folder: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "STALE_LOCK_TIMEOUT", 0)
    open_store()
    with (folder / "journal-1.log").open("ab") as file:
        file.write(b'12345678 {"seq":2,"uni')
    before = read_files(folder)
    with pytest.raises(WorkspaceLockedError):
        open_store()
    assert read_files(folder) == before
