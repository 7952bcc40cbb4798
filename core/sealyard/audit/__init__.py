"""The audit log: append-only entries, their Merkle tree, signed checkpoints, and verification."""
