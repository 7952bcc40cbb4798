"""The workspace's documents, units of work, events and permissions."""
