"""Start child processes of a test with default signal actions, whatever the caller of pytest ignores."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

TESTED_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


@contextmanager
def default_child_signals() -> Iterator[None]:
    """Reset ignored signals for the children of this process.

    A program inherits ignored signals: SIGHUP under `nohup`, SIGINT in a background job of a script. It does not
    inherit handlers, so an empty handler resets the signal for child processes only, and pytest still survives it.
    """
    ignored = [each for each in TESTED_SIGNALS if signal.getsignal(each) is signal.SIG_IGN]
    for each in ignored:
        signal.signal(each, lambda *_: None)
    try:
        yield
    finally:
        for each in ignored:
            signal.signal(each, signal.SIG_IGN)
