"""The worker's job handlers, one for each kind of task."""
