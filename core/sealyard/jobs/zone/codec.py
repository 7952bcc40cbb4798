"""Encoding of the messages in a bus database: JSON, and the signed layers of the engine and of the workers."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from sealyard.crypto.signed_messages import MessageLabel, sign_message, verify_message
from sealyard.model.base import JSON_ERRORS, FrozenStruct
from sealyard.model.errors import IntegrityError
from sealyard.model.zone_messages import AgentReport, Instruction, Order, SignedMessage, WorkerReport

Message = TypeVar("Message")

_agent_reports: msgspec.json.Decoder[AgentReport] = msgspec.json.Decoder(AgentReport)
_worker_reports = msgspec.json.Decoder(WorkerReport)
_instructions = msgspec.json.Decoder(Instruction)
_orders = msgspec.json.Decoder(Order)


def encode_message(message: FrozenStruct) -> bytes:
    return msgspec.json.encode(message)


def decode_agent_report(body: bytes) -> AgentReport:
    """Decode a row of ``bus.report``. Raises :class:`IntegrityError` if it is invalid."""
    return _decode(_agent_reports, body)


def sign_order(key: bytes, order: Order) -> SignedMessage:
    return sign_message(key, MessageLabel.ORDER, encode_message(order))


def open_order(public_key: bytes, message: SignedMessage) -> Order:
    """Verify and decode an order. Raises :class:`IntegrityError` if the engine did not sign it, or if it is invalid."""
    return _decode(_orders, verify_message(public_key, MessageLabel.ORDER, message))


def sign_instruction(key: bytes, instruction: Instruction) -> SignedMessage:
    return sign_message(key, MessageLabel.INSTRUCTION, encode_message(instruction))


def open_instruction(public_key: bytes, message: SignedMessage) -> Instruction:
    """Verify and decode an instruction. Raises :class:`IntegrityError` as :func:`open_order` does."""
    return _decode(_instructions, verify_message(public_key, MessageLabel.INSTRUCTION, message))


def sign_worker_report(key: bytes, report: WorkerReport) -> SignedMessage:
    return sign_message(key, MessageLabel.REPORT, encode_message(report))


def open_worker_report(public_key: bytes, message: SignedMessage) -> WorkerReport:
    """Verify and decode a report. Raises :class:`IntegrityError` if no worker of the zone signed it."""
    return _decode(_worker_reports, verify_message(public_key, MessageLabel.REPORT, message))


def _decode(decoder: msgspec.json.Decoder[Message], body: bytes) -> Message:
    try:
        return decoder.decode(body)
    except JSON_ERRORS:
        raise IntegrityError(
            "A message in the bus database is invalid, and was ignored.",
            "Check that the server and the crypto host have the same version of Sealyard.",
        ) from None
