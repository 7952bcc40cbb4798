"""The audit log as the engine uses it: pages, verification, export and checkpoints."""
