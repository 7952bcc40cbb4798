"""Signal handlers for the time in which the process waits for an answer on the terminal."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextlib.contextmanager
def end_on_signals(clean_up: Callable[[], None]) -> Iterator[None]:
    """Let signals call ``clean_up`` and end the process within the context; SIGINT raises ``KeyboardInterrupt``.

    Otherwise the handlers of an event loop, which cannot run during a prompt, would delay the end until the user
    presses Enter. Ignored signals stay ignored. Does nothing in other threads than the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def clean_up_and_exit(signal_number: int, _: object) -> None:
        clean_up()
        signal.signal(signal_number, signal.SIG_DFL)
        signal.raise_signal(signal_number)

    new_handlers = {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(_ENDING_SIGNALS, clean_up_and_exit)}
    old_handlers = {
        number: signal.signal(number, handler)
        for number, handler in new_handlers.items()
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in old_handlers.items():
            signal.signal(number, handler)
