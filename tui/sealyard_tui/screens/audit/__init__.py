"""The audit log: read, narrowed, verified, exported."""
