"""Recompute the root of an audit log with the standard library alone: python3 audit_root.py FOLDER SIZE."""

import base64
import hashlib
import pathlib
import sys

folder, size = pathlib.Path(sys.argv[1]), int(sys.argv[2])
entries = [line for file in sorted(folder.glob("segment-*.jsonl")) for line in file.read_bytes().split(b"\n")[:-1]]


def root(hashes: list[bytes]) -> bytes:  # RFC 6962, section 2.1
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + root(hashes[:split]) + root(hashes[split:])).digest()


leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries[:size]]
print(base64.b64encode(root(leaves)).decode())  # noqa: T201
