"""Records of the worker state file, and the keyed chain that authenticates them.

Each line is an HMAC-SHA256 (64 hex digits), a space, and a JSON value. The HMAC covers that of the previous line and
the JSON text, under a key derived from the master key with HKDF (RFC 5869). So no line can be changed, removed or
moved, except that lines at the end can be removed.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from sealyard.keys.derived_keys import derive_key
from sealyard.model.base import JSON_ERRORS, FrozenStruct
from sealyard.model.key_holder_messages import RecoveryDetails

_KEY_INFO = b"sealyard worker state 1"
MAC_DIGITS = 64
FIRST_PREVIOUS = "0" * MAC_DIGITS


class EpochRecord(FrozenStruct, frozen=True, kw_only=True, tag="epoch"):
    """The first record, and one for each recovery. ``epoch``: random identifier, also kept in the key store.

    ``migrated``: number of intents of an earlier version. ``recovery``: the checkpoint of the audit log from which the
    next one continues, and why.
    """

    epoch: str
    workspace: str
    seq: int = 0
    migrated: int | None = None
    recovery: RecoveryDetails | None = None


class IntentRecord(FrozenStruct, frozen=True, kw_only=True, tag="intent"):
    """``at``: seconds since the epoch."""

    task: str
    fencing_token: int
    sha256: str
    at: float
    seq: int = 0


class CheckpointRecord(FrozenStruct, frozen=True, kw_only=True, tag="checkpoint"):
    size: int
    root: str
    at: float
    seq: int = 0


class StoreRecord(FrozenStruct, frozen=True, kw_only=True, tag="store"):
    """A generation of the store; see :class:`sealyard.model.key_holder_messages.StoreGeneration`."""

    generation: int
    mac: str
    at: float
    seq: int = 0


class AnchorRecord(FrozenStruct, frozen=True, kw_only=True, tag="anchor"):
    """Where the freshness anchor is kept from here on, or ``none``. ``initial``: since the workspace was created."""

    location: str
    initial: bool = False
    seq: int = 0


class AuditedRecord(FrozenStruct, frozen=True, kw_only=True, tag="audited"):
    """The audit log has an entry for each record before this one that needs one."""

    seq: int = 0


StateRecord = EpochRecord | IntentRecord | CheckpointRecord | StoreRecord | AnchorRecord | AuditedRecord

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[StateRecord] = msgspec.json.Decoder(StateRecord)


class DamagedRecordError(Exception):
    """A record is not the one that was written. ``number``: its position in the file, counted from 1."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class ParsedRecords(NamedTuple):
    """The records of a file, the chain after the last one, and the length of the file up to there."""

    records: list[StateRecord]
    chain: RecordChain
    length: int
    missing_line_feed: bool


class RecordChain:
    """The end of a chain: the number of its records, and the HMAC of the last one."""

    def __init__(self, key: bytes, seq: int = 0, previous: str = FIRST_PREVIOUS) -> None:
        self.seq = seq
        self._key = key
        self._previous = previous

    @classmethod
    def from_master_key(cls, master_key: bytes) -> RecordChain:
        return cls(derive_key(master_key, _KEY_INFO))

    @property
    def last_mac(self) -> str:
        """The HMAC of the last record."""
        return self._previous

    def copy(self) -> RecordChain:
        return RecordChain(self._key, self.seq, self._previous)

    def append(self, record: StateRecord) -> bytes:
        """Return the line of the next record, with its sequence number, and advance the chain."""
        text = _encoder.encode(msgspec.structs.replace(record, seq=self.seq))
        mac = self._compute_mac(text)
        self._advance(mac)
        return f"{mac} ".encode() + text + b"\n"

    def verify(self, line: bytes) -> StateRecord | None:
        """Return the record of the next line, which has no line feed, and advance the chain; None if it is wrong."""
        mac, separator, text = line[:MAC_DIGITS], line[MAC_DIGITS : MAC_DIGITS + 1], line[MAC_DIGITS + 1 :]
        if separator != b" " or not hmac.compare_digest(mac, self._compute_mac(text).encode()):
            return None
        try:
            record = _decoder.decode(text)
        except JSON_ERRORS:
            return None
        if record.seq != self.seq:
            return None
        self._advance(mac.decode())
        return record

    def _compute_mac(self, text: bytes) -> str:
        return hmac.digest(self._key, self._previous.encode() + text, "sha256").hex()

    def _advance(self, mac: str) -> None:
        self._previous = mac
        self.seq += 1


def parse_records(content: bytes, chain: RecordChain) -> ParsedRecords:
    """Parse the content of a state file. A crash may have left an incomplete last line, which is not a record.

    A complete last line whose line feed is missing is a record. Raises :class:`DamagedRecordError`.
    """
    *lines, tail = content.split(b"\n")
    records = list(_verify_lines(lines, chain))
    length = len(content) - len(tail)
    if not tail:
        return ParsedRecords(records, chain, length, missing_line_feed=False)
    if chain.copy().verify(tail[:-1]) is not None:
        raise DamagedRecordError(len(records) + 1)  # the line feed was changed
    if (record := chain.verify(tail)) is not None:
        return ParsedRecords([*records, record], chain, len(content), missing_line_feed=True)
    return ParsedRecords(records, chain, length, missing_line_feed=False)


def decode_record(line: bytes) -> StateRecord:
    """Return the record of a line that was verified before."""
    return _decoder.decode(line[MAC_DIGITS + 1 :])


def count_intents_after(records: Iterable[StateRecord], audit_size: int) -> int:
    """Return the number of intents after the last signed checkpoint of the audit log of at most this size."""
    count = 0
    for record in records:
        match record:
            case CheckpointRecord(size=size) if size <= audit_size:
                count = 0
            case EpochRecord(recovery=RecoveryDetails(audit_size=size)) if size <= audit_size:
                count = 0
            case IntentRecord():
                count += 1
    return count


def _verify_lines(lines: list[bytes], chain: RecordChain) -> Iterator[StateRecord]:
    for number, line in enumerate(lines, 1):
        record = chain.verify(line)
        if record is None:
            raise DamagedRecordError(number)
        yield record
