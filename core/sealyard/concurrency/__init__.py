"""Worker threads, an event loop in a thread of its own, and the system clock."""
