"""Entry point of the crypto worker process: ``python -m sealyard.worker``.

The engine drives the worker over standard input and output. The key holder, which starts the worker, gives it the
master key over a private channel.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

from sealyard.confinement import Confinement
from sealyard.worker.channel import Channel
from sealyard.worker.holder_channel import HolderChannel
from sealyard.worker.service import run

NICE_INCREMENT = 10
"""Added to the nice value of the process, so that the engine and user interfaces have priority over the worker."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="sealyard.worker")
    parser.add_argument("holder_fd", type=int, help="private channel to the key holder")
    parser.add_argument("provider_fds", type=int, nargs="*", help="sockets to the processes of the key providers")
    arguments = parser.parse_args()
    for fd in (arguments.holder_fd, *arguments.provider_fds):
        os.set_inheritable(fd, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    os.nice(NICE_INCREMENT)
    # Redirect standard output to standard error, so that output of libraries is not mixed with the messages.
    message_fd = os.dup(1)
    os.dup2(2, 1)
    confinement = Confinement()
    confinement.protect_memory()
    return run(Channel(0, message_fd), HolderChannel(arguments.holder_fd), arguments.provider_fds, confinement)


if __name__ == "__main__":
    sys.exit(main())
