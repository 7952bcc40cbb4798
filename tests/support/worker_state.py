"""An independent reader of the worker state, written from its documentation with the standard library only."""

from __future__ import annotations

import hashlib
import hmac
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from sealyard.model.workspace import WorkspacePaths

KEY_INFO = b"sealyard worker state 1"
MAC_DIGITS = 64


def read_records(root: Path) -> list[dict[str, Any]]:
    """Return the records of the worker state of a workspace, unverified; none if there is no state."""
    return [json.loads(line[MAC_DIGITS + 1 :]) for line in _read_lines(root)]


def read_intents(root: Path) -> list[dict[str, Any]]:
    return [record for record in read_records(root) if record["type"] == "intent"]


def verify_records(root: Path, master_key: bytes) -> list[dict[str, Any]]:
    """Return the records after checking their chain, their numbers, and what may follow what.

    Each task has one signed input under rising fencing tokens, and the signed checkpoints grow.
    """
    records: list[dict[str, Any]] = []
    key = derive_key(master_key, KEY_INFO)
    previous = "0" * MAC_DIGITS
    for line in _read_lines(root):
        mac, separator, text = line[:MAC_DIGITS].decode(), line[MAC_DIGITS:][:1], line[MAC_DIGITS + 1 :]
        assert separator == b" "
        assert mac == hmac.digest(key, previous.encode() + text, "sha256").hex(), f"record {len(records)} was changed"
        records.append(json.loads(text))
        previous = mac
    assert [record["seq"] for record in records] == list(range(len(records)))
    assert [record["type"] for record in records].count("epoch") == 1
    assert records[0]["type"] == "epoch"
    _check_intents([record for record in records if record["type"] == "intent"])
    sizes = [record["size"] for record in records if record["type"] == "checkpoint"]
    assert all(smaller < larger for smaller, larger in pairwise(sizes))
    return records


def derive_key(master_key: bytes, info: bytes) -> bytes:
    """Return the first 32 bytes of HKDF-SHA256 (RFC 5869) without salt."""
    pseudo_random_key = hmac.digest(bytes(hashlib.sha256().digest_size), master_key, "sha256")
    return hmac.digest(pseudo_random_key, info + b"\x01", "sha256")


def _check_intents(intents: list[dict[str, Any]]) -> None:
    last_intents: dict[str, dict[str, Any]] = {}
    for intent in intents:
        last_intent = last_intents.setdefault(intent["task"], intent | {"fencingToken": 0})
        assert intent["sha256"] == last_intent["sha256"], f"{intent['task']} has two signed inputs"
        assert intent["fencingToken"] > last_intent["fencingToken"], f"{intent['task']} was signed twice in an attempt"
        last_intents[intent["task"]] = intent


def _read_lines(root: Path) -> list[bytes]:
    path = WorkspacePaths(root).worker_state
    return path.read_bytes().splitlines() if path.exists() else []
