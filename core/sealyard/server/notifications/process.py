"""Send one notification, in a process of its own: ``python -m sealyard.server.notifications.process``.

Reads a :class:`~sealyard.server.notifications.messages.SendRequest` from standard input, and writes a
:class:`~sealyard.server.notifications.messages.SendOutcome` to standard output.
"""

from __future__ import annotations

import os
import sys

import msgspec

from sealyard.model.notifications import TargetKind
from sealyard.server.notifications.guard import NetworkGuard
from sealyard.server.notifications.messages import SendOutcome, SendRequest

ADDRESS_NOT_ALLOWED = (
    "Address not allowed: it is loopback, link-local, private or otherwise internal. The setting "
    "allow_private_webhooks allows such addresses."
)


def send(request: SendRequest) -> SendOutcome:
    """Send the message. From then on, the process is restricted by :class:`NetworkGuard`."""
    guard = NetworkGuard(allow_private=request.allow_private)
    if request.kind is TargetKind.EMAIL:
        from sealyard.server.notifications.email import send_email

        guard.install()
        outcome = send_email(request)
    else:
        try:
            from sealyard.server.notifications.chat import send_chat
        except ImportError:
            return SendOutcome(error="Apprise is not installed. Install sealyard[notifications] on this machine.")
        guard.install()
        outcome = send_chat(request)
    if outcome.error and guard.has_refused_address:
        return SendOutcome(error=ADDRESS_NOT_ALLOWED)
    return outcome


def main() -> None:
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=SendRequest)
    # A library may print; only the outcome goes to the pipe.
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    os.write(output, msgspec.json.encode(send(request)))


if __name__ == "__main__":
    main()
