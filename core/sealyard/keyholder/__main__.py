"""Entry point of the key holder process: ``python -m sealyard.keyholder``; see :mod:`sealyard.jobs.key_holder`."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys

from sealyard.keyholder.hardening import protect_memory
from sealyard.keyholder.service import serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="sealyard.keyholder")
    parser.add_argument("channel_fd", type=int)
    parser.add_argument("passphrase_fd", type=int, nargs="?")
    arguments = parser.parse_args()
    os.umask(0o077)
    protect_memory()
    connection = socket.socket(fileno=arguments.channel_fd)
    connection.set_inheritable(False)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    return serve(connection, arguments.passphrase_fd)


if __name__ == "__main__":
    sys.exit(main())
