"""Systematic exploration of schedules: run a scenario once for every sequence of choices it can make.

Stateless model checking by depth-first search, as in CHESS (Musuvathi et al., OSDI 2008). The scenario must be
deterministic: with the same schedule, it makes the same choices.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random
from typing import NamedTuple


class Choice(NamedTuple):
    option: int
    options: int


class Schedule:
    """Decides the choices of one run: first as in the prefix, then always the first option."""

    def __init__(self, prefix: list[int]) -> None:
        self._prefix = prefix
        self.choices: list[Choice] = []

    def choose(self, options: int) -> int:
        position = len(self.choices)
        option = self._prefix[position] if position < len(self._prefix) else 0
        assert option < options, "the scenario is not deterministic"
        self.choices.append(Choice(option, options))
        return option

    def next_prefix(self) -> list[int] | None:
        """Return the prefix of the schedule after this one; None after the last."""
        choices = list(self.choices)
        while choices and choices[-1].option + 1 == choices[-1].options:
            choices.pop()
        if not choices:
            return None
        return [*(choice.option for choice in choices[:-1]), choices[-1].option + 1]

    def __str__(self) -> str:
        return ",".join(str(choice.option) for choice in self.choices)


class RandomSchedule(Schedule):
    """Chooses at random, for sets of schedules that are too large to explore completely."""

    def __init__(self, random: Random) -> None:
        super().__init__([])
        self._random = random

    def choose(self, options: int) -> int:
        self._prefix.append(self._random.randrange(options))
        return super().choose(options)


async def schedules(limit: int, seed: int) -> AsyncIterator[Schedule]:
    """Yield every schedule in turn. If there are more than ``limit``, yield as many random ones after these.

    The caller must run the scenario with each schedule before it requests the next one.
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
