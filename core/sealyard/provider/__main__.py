"""Entry point of the provider process: ``python -m sealyard.provider``."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys

from sealyard.confinement import Confinement
from sealyard.provider.service import serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="sealyard.provider")
    parser.add_argument("control_fd", type=int, help="socket of the type SEQPACKET to the key holder")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    confinement = Confinement()
    confinement.protect_memory()
    # A module or device can block the process, and then it does not notice that the key holder has ended.
    confinement.end_with_parent()
    control = socket.socket(fileno=arguments.control_fd)
    control.set_inheritable(False)
    return serve(control, confinement)


if __name__ == "__main__":
    sys.exit(main())
