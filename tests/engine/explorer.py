"""Systematic exploration of schedules: run a scenario once for every sequence of choices it can make.

Stateless model checking by depth-first search, as in CHESS (Musuvathi et al., OSDI 2008): the scenario must make
the same choices again when it is given the same answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random
from typing import NamedTuple


class Choice(NamedTuple):
    taken: int
    options: int


class Schedule:
    """Answers the choices of one run: first those of a prefix, then always the first option."""

    def __init__(self, prefix: list[int]) -> None:
        self._prefix = prefix
        self.choices: list[Choice] = []

    def choose(self, options: int) -> int:
        position = len(self.choices)
        taken = self._prefix[position] if position < len(self._prefix) else 0
        assert taken < options, "the scenario does not repeat itself"
        self.choices.append(Choice(taken, options))
        return taken

    def next_prefix(self) -> list[int] | None:
        """Return the prefix of the schedule after this one; None after the last."""
        choices = list(self.choices)
        while choices and choices[-1].taken + 1 == choices[-1].options:
            choices.pop()
        if not choices:
            return None
        return [*(choice.taken for choice in choices[:-1]), choices[-1].taken + 1]

    def __str__(self) -> str:
        return ",".join(str(choice.taken) for choice in self.choices)


class RandomSchedule(Schedule):
    """Answers at random: for spaces that are too large to be walked through in full."""

    def __init__(self, random: Random) -> None:
        super().__init__([])
        self._random = random

    def choose(self, options: int) -> int:
        self._prefix.append(self._random.randrange(options))
        return super().choose(options)


async def schedules(limit: int, seed: int) -> AsyncIterator[Schedule]:
    """Yield every schedule in turn. Beyond ``limit``, random ones follow instead, as many again.

    The caller runs the scenario with each schedule before it asks for the next one.
    """
    prefix: list[int] | None = []
    for _ in range(limit):
        assert prefix is not None
        schedule = Schedule(prefix)
        yield schedule
        prefix = schedule.next_prefix()
        if prefix is None:
            return
    random = Random(seed)
    for _ in range(limit):
        yield RandomSchedule(random)
