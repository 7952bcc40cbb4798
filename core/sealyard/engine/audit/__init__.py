"""The engine's side of the audit log: queries, verification, export and checkpoints."""
