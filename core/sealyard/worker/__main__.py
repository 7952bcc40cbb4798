"""Entry of the crypto worker process: `python -m sealyard.worker`, spoken to over standard input and output."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from sealyard.worker.channel import Channel
from sealyard.worker.service import serve

NICE_INCREMENT = 10
"""Nice value added: the engine and whoever looks at a screen come first, the rest of the processors is ours."""


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    os.nice(NICE_INCREMENT)
    # Whatever a library prints must not end up between the messages.
    messages = os.dup(1)
    os.dup2(2, 1)
    return asyncio.run(serve(Channel(0, messages)))


if __name__ == "__main__":
    sys.exit(main())
