"""Send an e-mail through the mail server of the workspace (SMTP)."""

from __future__ import annotations

import os
import smtplib
import socket
import ssl
from email.message import EmailMessage
from email.utils import formatdate

import certifi

from sealyard.model.notifications import MailSecurity, MailServer
from sealyard.model.safe_text import escape_text
from sealyard.server.notifications.messages import SendOutcome, SendRequest

CONNECTION_SECONDS = 15.0
"""Timeout of each network operation."""

MAX_ERROR_LENGTH = 200
PERMANENT_ERROR_CODES = 500


def send_email(request: SendRequest) -> SendOutcome:
    """Send the message to the e-mail address of the request."""
    assert request.mail_server is not None
    try:
        with _connect(request.mail_server) as connection:
            if request.mail_server.user_name:
                connection.login(request.mail_server.user_name, request.password)
            connection.send_message(build_email(request, request.mail_server.sender))
    except ssl.SSLCertVerificationError as error:
        return SendOutcome(error=f"The certificate of the mail server is not trusted: {error.verify_message}.")
    except smtplib.SMTPException as error:
        return _describe_error(error)
    except OSError as error:
        detail = error.strerror or type(error).__name__
        return SendOutcome(error=f"Cannot reach the mail server ({escape_text(detail, 100)}).", is_transient=True)
    return SendOutcome()


def build_email(request: SendRequest, sender: str) -> EmailMessage:
    """Return the e-mail. Its Message-ID is the same for each attempt, so that duplicates can be recognized."""
    email = EmailMessage()
    email["From"] = sender
    email["To"] = request.address.removeprefix("mailto:")
    email["Subject"] = f"Sealyard: {request.title}"
    email["Date"] = formatdate(localtime=True)
    email["Message-ID"] = f"<{request.message_id}@{sender.rpartition('@')[2]}>"
    email["Auto-Submitted"] = "auto-generated"
    email.set_content(request.body)
    return email


def _connect(mail_server: MailServer) -> smtplib.SMTP:
    """Connect to the mail server, with encryption as configured. Never falls back to an unencrypted connection."""
    context = ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where())
    host, port, name = mail_server.host, mail_server.port, socket.gethostname()
    if mail_server.security is MailSecurity.TLS:
        return smtplib.SMTP_SSL(host, port, name, timeout=CONNECTION_SECONDS, context=context)
    connection = smtplib.SMTP(host, port, name, timeout=CONNECTION_SECONDS)
    if mail_server.security is MailSecurity.STARTTLS:
        connection.starttls(context=context)
    return connection


def _describe_error(error: smtplib.SMTPException) -> SendOutcome:
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return SendOutcome(error="The mail server does not support what is configured: STARTTLS or a log-in.")
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, reply = next(iter(error.recipients.values()))
        return _describe_reply("The mail server refused the recipient", code, reply)
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return _describe_reply("The mail server refused the log-in", error.smtp_code, error.smtp_error)
    if isinstance(error, smtplib.SMTPResponseException):
        return _describe_reply("The mail server refused the message", error.smtp_code, error.smtp_error)
    return SendOutcome(error="The mail server closed the connection.", is_transient=True)


def _describe_reply(text: str, code: int, reply: bytes | str) -> SendOutcome:
    reply_text = reply.decode(errors="replace") if isinstance(reply, bytes) else reply
    detail = escape_text(" ".join(reply_text.split()), MAX_ERROR_LENGTH)
    return SendOutcome(error=f"{text}: {code} {detail}", is_transient=code < PERMANENT_ERROR_CODES)
