"""Looking at processes through /proc."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path


def lives(pid: int) -> bool:
    """Whether the process still does something; one that has only not been waited for does not."""
    found = _state(pid)
    return found is not None and found[0] not in ("Z", "X")


def children_of(pid: int) -> set[int]:
    return {each for each in _all_pids() if (found := _state(each)) is not None and found[1] == pid and lives(each)}


def with_in_environment(mark: str) -> set[int]:
    """The living processes that were started with ``mark`` somewhere in their environment."""
    found = set()
    for pid in _all_pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in environment and lives(pid):
            found.add(pid)
    return found


def still_there(pids: Iterable[int], within: float) -> set[int]:
    """Those that have not ended ``within`` seconds."""
    left = set(pids)
    deadline = time.monotonic() + within
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if lives(pid)}
        time.sleep(0.01)
    return left


def _all_pids() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]


def _state(pid: int) -> tuple[str, int] | None:
    """State letter and parent."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, parent = text.rpartition(")")[2].split()[:2]
    return state, int(parent)
