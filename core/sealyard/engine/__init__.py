"""The engine: use cases that create, approve, schedule, deliver and expire tasks, with permissions and events."""
