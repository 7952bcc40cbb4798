"""Feed all readers of files and messages with changed versions of real ones, and with arbitrary bytes.

A reader returns or raises an error of its family, within seconds and with bounded memory.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.readers import READERS, Reader
from tests.support.extent import choose_count, scale_examples
from tests.support.mutations import mutate

INPUTS = choose_count(share=100, full=5_000)
"""Mutated inputs of each reader."""

SEED = 20261129
MAX_SECONDS = 10.0
"""For one input; the slowest takes milliseconds, but another process may have the processor."""

MAX_MEMORY_GROWTH_KIB = 200 * 1024


def read(reader: Reader, content: bytes) -> bool:
    """Read the content; return whether it was accepted."""
    started_at = time.monotonic()
    try:
        reader.read(content)
        return True
    except reader.errors:
        return False
    except BaseException as error:
        error.add_note(f"input: {content[:2000]!r}")
        raise
    finally:
        assert time.monotonic() - started_at < MAX_SECONDS, content[:2000]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("create", READERS, ids=lambda create: create.__name__)
def test_changed_input_raises_errors_of_the_family_only(
    create: Callable[[Path], Reader], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    reader = create(tmp_path)
    for sample in reader.samples:
        assert read(reader, sample), "the reader rejects its sample"
    random = Random(SEED)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    accepted = sum(read(reader, mutate(random.choice(reader.samples), random)) for _ in range(INPUTS))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < MAX_MEMORY_GROWTH_KIB
    record_property("inputs", INPUTS)
    record_property("accepted", accepted)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("create", READERS, ids=lambda create: create.__name__)
def test_arbitrary_input_raises_errors_of_the_family_only(create: Callable[[Path], Reader], tmp_path: Path) -> None:
    reader = create(tmp_path)

    @settings(max_examples=scale_examples(50), suppress_health_check=list(HealthCheck))
    @given(content=st.binary(max_size=3000) | st.text(max_size=500).map(lambda text: text.encode("utf-8", "replace")))
    def check(content: bytes) -> None:
        read(reader, content)

    check()
