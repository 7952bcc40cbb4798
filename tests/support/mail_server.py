"""A real SMTP server on loopback, which keeps the e-mails that it accepts."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from functools import partial
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.support.tls_certificates import create_cert_pair

USER, PASSWORD = "sealyard", "the password of the mail server"


@dataclass
class Mailbox:
    """The e-mails that the server accepted, the log-ins, and the reply to the next ``RCPT`` commands."""

    port: int = 0
    certificate: str = ""
    emails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    refusal: str = ""

    async def handle_RCPT(  # noqa: N802 - name required by aiosmtpd
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.refusal:
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        email = message_from_bytes(envelope.content, policy=default)
        assert isinstance(email, EmailMessage)
        self.emails.append(email)
        self.recipients += envelope.rcpt_tos
        self.encrypted.append(session.ssl is not None)
        return "250 OK"

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        login = data.login.decode(), data.password.decode()
        self.logins.append(login)
        return AuthResult(success=login == (USER, PASSWORD), handled=False)


@contextlib.asynccontextmanager
async def run_mail_server(
    folder: Path, *, tls: bool = False, starttls: bool = True, auth: bool = False
) -> AsyncIterator[Mailbox]:
    """Run a mail server with a certificate of an own CA: with TLS from the start, or with STARTTLS."""
    certificate, key = create_cert_pair(folder, "mail")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    mailbox = Mailbox(certificate=str(certificate))
    build_session = partial(
        SMTP,
        mailbox,
        hostname="mail.example.org",
        tls_context=context if starttls and not tls else None,
        authenticator=mailbox.authenticate,
        auth_required=auth,
        auth_require_tls=starttls and not tls,
    )
    server = await asyncio.get_running_loop().create_server(build_session, "127.0.0.1", 0, ssl=context if tls else None)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
