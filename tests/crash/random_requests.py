"""The requests of a storm: tasks of all kinds and sizes, some of which are to be stopped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

KIB, MIB = 1024, 1024 * 1024
SIZES = {4 * KIB: 4, 20 * KIB + 5: 4, 300 * KIB: 4, 2 * MIB: 3, 7 * MIB + 3: 2, 24 * MIB: 1, 40 * MIB: 1}
"""Sizes of firmware files and their weights, so that kills interrupt both short and long work."""

STOP_PROBABILITY = 0.3
"""Probability that a task is to be stopped."""

STOP_COMMANDS = {"packaging": ("withdraw", "reject", "cancel"), "signing": ("withdraw", "reject", "cancel")}
"""Commands that stop a task, by its kind; an encryption task can only be cancelled."""

STOP_STATUSES = ("CREATED", "WAITING", "APPROVED", "SCHEDULED", "RUNNING")


@dataclass(frozen=True)
class ExpectedTask:
    """The request made under one client token."""

    kind: str
    files: tuple[Path, ...] = ()
    message: bytes = b""
    stop: str = ""
    """``withdraw``, ``reject`` or ``cancel``, sent concurrently with the approval or a later step; empty: none."""

    stop_at: str = ""
    """The status of the task at which the stop command is sent."""


class RandomRequests:
    """Chooses requests. ``files``: one of each size in :data:`SIZES`, or of smaller ones, in the same order."""

    def __init__(self, random: Random, files: tuple[Path, ...]) -> None:
        self._random = random
        self._files = files

    def choose_request(self) -> ExpectedTask:
        expected = self._choose_task()
        if self._random.random() >= STOP_PROBABILITY:
            return expected
        stop = self._random.choice(STOP_COMMANDS.get(expected.kind, ("cancel",)))
        return replace(expected, stop=stop, stop_at=self._random.choice(STOP_STATUSES))

    def _choose_task(self) -> ExpectedTask:
        kind = self._random.choice(("packaging", "packaging", "packaging", "encryption", "signing"))
        match kind:
            case "packaging":
                return ExpectedTask(kind, self._choose_files(self._random.randint(1, 3)))
            case "encryption":
                return ExpectedTask(kind, self._choose_files(1))
            case _:
                return ExpectedTask(kind, message=self._random.randbytes(self._random.choice((40, 100_000))))

    def _choose_files(self, count: int) -> tuple[Path, ...]:
        return tuple(self._random.choices(self._files, list(SIZES.values()), k=count))
