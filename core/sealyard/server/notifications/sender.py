"""Delivery of notifications: each attempt in a process of its own, which can be restricted and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Mapping

import msgspec

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.notifications.outbox import NotificationDelivery, NotificationTest
from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import SealyardError
from sealyard.model.notification_address import parse_notification_address
from sealyard.model.notifications import MailSecurity, TargetKind
from sealyard.server.delivery.retry_policy import FEW_TRIES, MAX_TRIES, DeliveryFailure
from sealyard.server.delivery.sender import OutboxSender
from sealyard.server.notifications.messages import SendOutcome, SendRequest

SEND_SECONDS = 40.0
"""Maximum duration of one attempt."""

MAX_PROCESSES = 4
"""Maximum number of attempts at the same time."""

PASSED_VARIABLES = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TZ")
"""Environment variables of a process. Proxies are not used, because the address must be that of the receiver."""

PLAIN_HTTP_ERROR = "Plain HTTP is not allowed; use the https variant of the address."
UNENCRYPTED_MAIL_ERROR = "The connection to the mail server must be encrypted: set STARTTLS or TLS."

log = logging.getLogger(__name__)


class NotificationSender(OutboxSender[NotificationDelivery]):
    """Sender of notifications and test messages. ``allow_private``: allow all addresses, and no encryption."""

    def __init__(self, engine_handle: EngineHandle, *, allow_private: bool = False) -> None:
        super().__init__(engine_handle, engine_handle.engine.notifications.outbox)
        self._notification_outbox = engine_handle.engine.notifications.outbox
        self._allow_private = allow_private
        self._slots = asyncio.Semaphore(MAX_PROCESSES)

    async def attach(self) -> None:
        """Accept test messages from now on; :meth:`run` sends them."""
        await self._engine_handle.run(self._notification_outbox.attach_sender())

    async def run(self) -> None:
        """Deliver notifications and test messages until cancelled."""
        await self.attach()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(super().run())
                group.create_task(self._run_tests())
        finally:
            await self._engine_handle.run(self._notification_outbox.detach_sender())

    async def _run_tests(self) -> None:
        """Send test messages, each once."""
        async with asyncio.TaskGroup() as group:
            while True:
                test = await self._engine_handle.run(self._notification_outbox.next_test())
                group.create_task(self._run_test(test))

    async def _run_test(self, test: NotificationTest) -> None:
        failure = await self._send(test.delivery)
        error = failure.error if failure is not None else ""
        await self._engine_handle.run(self._notification_outbox.finish_test(test, error))

    async def _send(self, delivery: NotificationDelivery) -> DeliveryFailure | None:
        error = self._find_obstacle(delivery)
        if error:
            return DeliveryFailure(error=error, tries=FEW_TRIES)
        request = SendRequest(
            message_id=f"{self._workspace_id}.{delivery.id}",
            kind=delivery.kind,
            address=delivery.address,
            title=delivery.title,
            body=delivery.body,
            mail_server=delivery.mail_server,
            password=delivery.password,
            allow_private=self._allow_private,
        )
        async with self._slots:
            outcome = await send_in_process(request)
        if not outcome.error:
            return None
        return DeliveryFailure(error=outcome.error, tries=MAX_TRIES if outcome.is_transient else FEW_TRIES)

    def _find_obstacle(self, delivery: NotificationDelivery) -> str:
        """Return why the message cannot be sent; an empty string if an attempt can be made."""
        if delivery.kind is TargetKind.EMAIL:
            if delivery.mail_server is None:
                return "No mail server is set."
            is_encrypted = delivery.mail_server.security is not MailSecurity.NONE
            return "" if is_encrypted or self._allow_private else UNENCRYPTED_MAIL_ERROR
        try:
            address = parse_notification_address(delivery.address)
        except SealyardError as error:
            return error.message
        return PLAIN_HTTP_ERROR if address.is_plain and not self._allow_private else ""


async def send_in_process(request: SendRequest) -> SendOutcome:
    """Send a message in a process of its own. The process is killed if it takes too long, or on cancellation."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "sealyard.server.notifications.process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=select_environment(os.environ),
        cwd="/",
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(SEND_SECONDS):
            output, _ = await process.communicate(msgspec.json.encode(request))
    except TimeoutError:
        return SendOutcome(error="The receiver's server did not answer in time.", is_transient=True)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    try:
        return msgspec.json.decode(output, type=SendOutcome)
    except JSON_ERRORS:
        log.error("the process that sends notifications exited with status %s", process.returncode)
        return SendOutcome(error="The process that sends notifications failed.")


def select_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a process: no secrets and no proxies, and the certificates that are trusted."""
    environment = {name: environ[name] for name in PASSED_VARIABLES if name in environ}
    certificates = environ.get("SSL_CERT_FILE") or environ.get("REQUESTS_CA_BUNDLE")
    return environment | ({"REQUESTS_CA_BUNDLE": certificates} if certificates else {})
