"""Use cases: create, approve, schedule, deliver, expire; rights and events."""
