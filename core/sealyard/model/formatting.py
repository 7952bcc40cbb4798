"""Format sizes, times and durations for display, and parse durations. Used by all front ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from sealyard.model.device_configs import CertificateSummary
from sealyard.model.display_zone import display_zone
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import SubjectNames, format_subject
from sealyard.model.tasks import Decision, DecisionOrigin

_DISPLAY_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_DURATION = re.compile(r"([0-9]{1,10})([smhdw]?)")
_SECONDS_BY_UNIT = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def format_count(count: int, noun: str, plural: str = "") -> str:
    """Format a number with its noun: ``1 task``, ``2 tasks``. ``plural`` is the noun with an s unless it is given."""
    return f"1 {noun}" if count == 1 else f"{count:,} {plural or noun + 's'}"


def format_chain(certificates: Sequence[CertificateSummary]) -> str:
    """Format the subject, issuer, expiry and length of a chain, which begins with the certificate of a key."""
    expiry = format_time(certificates[0].expires_at)
    return f"{escape_text(certificates[0].subject)}, {format_issuer(certificates)}; expires {expiry}"


def format_issuer(certificates: Sequence[CertificateSummary]) -> str:
    """Format the issuer of the first certificate of a chain, and the length of the chain."""
    certificate = certificates[0]
    if certificate.issuer == certificate.subject:
        return "self-signed"
    length = f"chain of {len(certificates)} certificates" if len(certificates) > 1 else "without chain"
    return f"issued by {escape_text(certificate.issuer)} ({length})"


def shorten_middle(text: str, limit: int) -> str:
    """Return ``text`` with at most ``limit`` characters; the middle of a longer text is replaced with an ellipsis."""
    if len(text) <= limit:
        return text
    end_length = (limit - 1) // 2
    return f"{text[: limit - 1 - end_length]}…{text[len(text) - end_length :]}"


def format_seconds(seconds: float) -> str:
    """Format a time limit in seconds: ``1 second``, ``0.5 seconds``, ``90 seconds``."""
    return "1 second" if seconds == 1 else f"{seconds:g} seconds"


def format_size(byte_count: int) -> str:
    """Format a number of bytes in binary units: ``1.5 MiB``."""
    if byte_count < 1024:  # noqa: PLR2004
        return f"{byte_count} B"
    amount = float(byte_count)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if round(amount, 1) < 1024:  # noqa: PLR2004
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"


def format_size_exact(byte_count: int) -> str:
    """Format a number of bytes as ``1.5 MiB (1,572,864 bytes)``, or as ``95 B`` if it is less than 1 KiB."""
    return f"{format_size(byte_count)} ({byte_count:,} bytes)" if byte_count >= 1024 else format_size(byte_count)  # noqa: PLR2004


def format_duration(seconds: int) -> str:
    """Format ``seconds`` in the two largest units that are not zero: ``30d``, ``1h 5m``."""
    parts = []
    for unit, unit_seconds in _DISPLAY_UNITS:
        count, seconds = divmod(seconds, unit_seconds)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def parse_duration(text: str) -> int:
    """Return the seconds in ``90s``, ``30m``, ``24h``, ``30d``, ``2w`` or a sum of them such as ``1h 30m``.

    A number without a unit is in seconds. Raises :class:`UsageError` for any other text.
    """
    matches = [_DURATION.fullmatch(part) for part in text.split()]
    if not matches or not all(matches):
        raise UsageError(f"Invalid duration {escape_text(text, 40)!r}.", "Use 90s, 30m, 24h or 30d.")
    return sum(int(match[1]) * _SECONDS_BY_UNIT[match[2]] for match in matches if match is not None)


def format_time(moment: datetime | None) -> str:
    """Format ``moment`` in the display time zone, with its name, to the second; return an empty string for None."""
    return f"{display_zone.convert(moment):%Y-%m-%d %H:%M:%S %Z}" if moment is not None else ""


def format_decider(decision: Decision, names: SubjectNames) -> str:
    """Format who made a decision and how: ``USER:anna (Anna Approver) (at a terminal, with one-time password)``."""
    origin_text = {DecisionOrigin.TERMINAL: "at a terminal", DecisionOrigin.MACHINE: "machine client", None: ""}[
        decision.origin
    ]
    otp_text = "with one-time password" if decision.one_time_password else ""
    details = ", ".join(detail for detail in (origin_text, otp_text) if detail)
    subject = format_subject(decision.by, names)
    return f"{subject} ({details})" if details else subject


def format_time_left(until: datetime | None, now: datetime) -> str:
    """Format ``until`` and the time left until then; return an empty string for None."""
    if until is None:
        return ""
    seconds = round((until - now).total_seconds())
    return (
        f"{format_time(until)} ({format_duration(seconds)} left)" if seconds > 0 else f"{format_time(until)} (expired)"
    )
